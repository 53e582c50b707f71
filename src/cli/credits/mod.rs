//! `mediaforge credits`

mod show;

use std::str::FromStr;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Exit, Failure, Invocation, output};
use crate::{
    app,
    config::Config,
    domain::{
        clock::{Clock as _, Random as _, SystemClock, SystemRandom},
        credits::LedgerEntry,
        ids::{AccountId, InvalidId},
    },
};

/// Show or grant the credits of users and teams
///
/// Reads and writes the store directly (the data directory or Firestore), even while `mediaforge serve` is running.
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  mediaforge credits show ada
  mediaforge credits grant ada 100 --reason \"spring offer\"
  mediaforge credits grant teams/acme 500 --once invoice-2026-11 --json"
)]
pub(super) struct CreditsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(show::ShowArgs),
    Grant(GrantArgs),
}

/// Grant credits to an account, immediately and without confirmation
#[derive(Debug, Args)]
struct GrantArgs {
    /// The account: `ada`, `users/ada` or `teams/acme`
    #[arg(value_name = "ACCOUNT")]
    account: AccountArg,
    /// Number of credits
    #[arg(value_name = "AMOUNT", value_parser = clap::value_parser!(u64).range(1..=i64::MAX.unsigned_abs()))]
    amount: u64,
    /// The reason, kept in the ledger
    #[arg(long, value_name = "TEXT", value_parser = reason, conflicts_with = "once")]
    reason: Option<String>,
    /// A key for this grant; repeating the grant with the same key changes nothing
    #[arg(long, value_name = "KEY", value_parser = once)]
    once: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// An account as users write it: `ada` is short for `users/ada`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct AccountArg(AccountId);

impl FromStr for AccountArg {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text.contains('/') { text.parse().map(Self) } else { Ok(Self(AccountId::User(text.parse()?))) }
    }
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    let fits = (1..=200).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err("write 1 to 200 characters, without control characters".into()) }
}

fn once(text: &str) -> Result<String, String> {
    match reason(text)?.as_str() {
        // The first submit of an account makes its starting grant under this key. If the key were taken, the grant would be lost.
        "welcome" => Err("`welcome` is the key of the starting grant; choose another one".into()),
        key => Ok(key.to_owned()),
    }
}

pub(super) async fn run(args: CreditsArgs, invocation: &Invocation) -> anyhow::Result<Exit> {
    match args.command {
        Command::Show(args) => show::run(args, invocation).await,
        Command::Grant(args) => grant(args, invocation).await,
    }
}

/// The configuration of a command that needs an existing store: it must not create a new one.
pub(super) fn config_of_existing_store(invocation: &Invocation) -> anyhow::Result<Config> {
    let config = invocation.load(None, Vec::new())?.config;
    if app::has_store(&config) {
        return Ok(config);
    }
    let message = format!("{} is not a data directory of mediaforge", config.data_dir.display());
    let hint = "choose another one with --data-dir, or create one with `mediaforge serve`";
    Err(Failure::new(Exit::Usage, message).hint(hint).into())
}

async fn grant(args: GrantArgs, invocation: &Invocation) -> anyhow::Result<Exit> {
    let GrantArgs { account: AccountArg(account), amount, reason, once, json } = args;
    let config = invocation.load(None, Vec::new())?.config;
    let accounts = app::open_store(&config).await.context("cannot open the store")?.accounts;
    let random = || format!("{:016x}", SystemRandom.next_u64());
    let source = once.unwrap_or_else(|| match reason {
        Some(reason) => format!("{reason} ({})", random()),
        None => format!("operator-{}", random()),
    });
    let entry = LedgerEntry::grant(account.clone(), &source, amount, SystemClock.now());
    let before = accounts.adjustment(&account, &entry.id).await?;
    let balance =
        accounts.adjust(&entry).await.with_context(|| format!("cannot grant {amount} credits to {account}"))?;
    if let Some(before) = &before {
        let when = before.at.strftime("%F %T");
        output::note(format!(
            "nothing changed: {} credits were already granted with this key on {when} UTC",
            before.amount
        ));
    }
    let granted = if before.is_some() { 0 } else { amount };
    if json {
        let shown = json!({ "account": account, "granted": granted, "entryId": entry.id, "balance": balance });
        output::line(shown.to_string())?;
    } else {
        output::line(show::table(&[(account, balance)]))?;
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_without_a_prefix_is_a_user() {
        let account = |text: &str| text.parse::<AccountArg>().map(|arg| arg.0.to_string());
        assert_eq!(account("ada").unwrap(), "users/ada");
        assert_eq!(account("users/ada").unwrap(), "users/ada");
        assert_eq!(account("teams/acme").unwrap(), "teams/acme");
        for wrong in ["", "/", "ada/", "team/acme", "users/..", "a b"] {
            assert!(account(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_key_of_the_starting_grant_is_refused() {
        assert!(once("welcome").is_err() && once(" ").is_err() && reason("a\nb").is_err());
        assert_eq!(once("invoice-7"), Ok("invoice-7".to_owned()));
    }
}
