//! `mediaforge credits show`
#![expect(clippy::doc_markdown, reason = "these doc comments are help texts")]

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::{super::output, AccountArg, Exit, Invocation, config_of_existing_store};
use crate::{
    app,
    domain::{
        credits::{Account, LedgerEntry, Verb},
        ids::AccountId,
    },
};

/// Show a balance and its last changes
///
/// For a member of a team, also shows the balance of the team, which pays. Without ACCOUNT, shows the user that
/// `generate` uses: MEDIAFORGE_USER, or `local`.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The account: `ada`, `users/ada` or `teams/acme`
    #[arg(value_name = "ACCOUNT")]
    account: Option<AccountArg>,
    /// Number of recent ledger entries to show
    #[arg(long, value_name = "N", default_value_t = 10)]
    entries: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: ShowArgs, invocation: &Invocation) -> anyhow::Result<Exit> {
    let AccountArg(account) = match args.account {
        Some(name) => name,
        None => invocation.environment.get("MEDIAFORGE_USER").unwrap_or("local").parse().context("MEDIAFORGE_USER")?,
    };
    let config = config_of_existing_store(invocation)?;
    let accounts = app::open_store(&config).await.context("cannot open the store")?.accounts;
    let team = match &account {
        AccountId::User(user) => accounts.team_of(user).await?.map(AccountId::Team),
        AccountId::Team(_) => None,
    };
    let mut balances = Vec::new();
    let mut untouched = Vec::new();
    for id in std::iter::once(&account).chain(&team) {
        let balance = accounts.account(id).await?;
        if balance.is_none() {
            untouched.push(id);
        }
        balances.push((id.clone(), balance.unwrap_or_default()));
    }
    let entries = accounts.ledger(&account, args.entries).await?;
    let grant = config.credits.starting_grant;

    if args.json {
        let mut shown = json!(balances[0].1);
        shown["account"] = json!(account);
        shown["entries"] = json!(entries);
        if let Some((id, balance)) = balances.get(1) {
            shown["team"] = json!(balance);
            shown["team"]["account"] = json!(id);
        }
        if untouched.contains(&&account) {
            shown["startingGrant"] = grant.into();
        }
        output::line(shown.to_string())?;
        return Ok(Exit::Done);
    }
    output::line(table(&balances))?;
    if let Some(team) = &team {
        output::line(format!("\n{team} pays for the jobs of {account}."))?;
    }
    for id in untouched {
        output::line(format!("\n{id} has no credits yet; it gets the starting grant of {grant} with its first job."))?;
    }
    if !entries.is_empty() {
        output::line(format!("\nLast entries of {account} (UTC)\n{}", ledger(&account, &entries)))?;
    }
    Ok(Exit::Done)
}

/// One line per balance.
pub(super) fn table(balances: &[(AccountId, Account)]) -> String {
    let head = ["ACCOUNT", "AVAILABLE", "HELD", "SPENT", "GRANTED"].map(str::to_owned);
    let row = |(id, balance): &(AccountId, Account)| {
        let Account { available, held, spent, granted } = balance;
        [id.to_string(), available.to_string(), held.to_string(), spent.to_string(), granted.to_string()]
    };
    let rows: Vec<_> = std::iter::once(head).chain(balances.iter().map(row)).collect();
    aligned(&rows, [false, true, true, true, true])
}

fn ledger(account: &AccountId, entries: &[LedgerEntry]) -> String {
    let grants = format!("grant:{}:", account.to_string().replace('/', ":"));
    let row = |entry: &LedgerEntry| {
        // The effect on the available credits.
        let sign = match entry.verb {
            Verb::Grant | Verb::Release => "+",
            Verb::Hold => "-",
            Verb::Capture => "",
        };
        let job = entry.job_id.as_ref().map(ToString::to_string);
        let cause = job.unwrap_or_else(|| entry.id.strip_prefix(&grants).unwrap_or(&entry.id).to_owned());
        let time = entry.at.strftime("%F %T").to_string();
        [time, entry.verb.to_string(), format!("{sign}{}", entry.amount), cause]
    };
    let rows: Vec<_> = entries.iter().map(row).collect();
    aligned(&rows, [false, false, true, false])
}

/// Columns as wide as their widest cell, aligned to the right where `right` is true.
fn aligned<const N: usize>(rows: &[[String; N]], right: [bool; N]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).zip(right);
        let cells = cells.map(
            |((cell, width), right)| {
                if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            },
        );
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned() {
        let account = |id: &str, available, granted| {
            (id.parse().unwrap(), Account { available, granted, spent: granted - available, held: 0 })
        };
        let text = table(&[account("users/ada", 997, 1000), account("teams/acme-international", 5, 5)]);
        let expected = "\
ACCOUNT                   AVAILABLE  HELD  SPENT  GRANTED
users/ada                       997     0      3     1000
teams/acme-international          5     0      0        5";
        assert_eq!(text, expected);
    }

    #[test]
    fn an_entry_shows_its_reason() {
        let account: AccountId = "users/ada".parse().unwrap();
        let at = crate::domain::Timestamp::from_second(1_800_000_000).unwrap();
        let entry = LedgerEntry::grant(account.clone(), "spring offer (1)", 100, at);
        assert_eq!(ledger(&account, &[entry]), "2027-01-15 08:00:00  grant  +100  spring offer (1)");
    }
}
