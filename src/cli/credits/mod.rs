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

/// Look at the credits of people and teams, or grant some
///
/// Works on the store itself, in the data directory or in Firestore, also while `mediaforge serve` runs on it.
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

/// Give credits to an account, at once and without a question
#[derive(Debug, Args)]
struct GrantArgs {
    /// Whose: `ada`, `users/ada` or `teams/acme`
    #[arg(value_name = "ACCOUNT")]
    account: Name,
    /// How many credits
    #[arg(value_name = "AMOUNT", value_parser = clap::value_parser!(u64).range(1..=i64::MAX.unsigned_abs()))]
    amount: u64,
    /// What for: kept in the ledger
    #[arg(long, value_name = "TEXT", value_parser = reason, conflicts_with = "once")]
    reason: Option<String>,
    /// Names this grant: repeated under the same key it changes nothing
    #[arg(long, value_name = "KEY", value_parser = once)]
    once: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// An account as people write it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name(AccountId);

impl FromStr for Name {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text.contains('/') { text.parse().map(Self) } else { Ok(Self(AccountId::User(text.parse()?))) }
    }
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    let fits = (1..=200).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err("1 to 200 characters without control characters".into()) }
}

fn once(text: &str) -> Result<String, String> {
    match reason(text)?.as_str() {
        // The grant that a first submit makes: under this name it would not be made any more.
        "welcome" => Err("`welcome` is the name of the starting grant".into()),
        key => Ok(key.to_owned()),
    }
}

pub(super) async fn run(args: CreditsArgs, invocation: &Invocation) -> anyhow::Result<Exit> {
    match args.command {
        Command::Show(args) => show::run(args, invocation).await,
        Command::Grant(args) => grant(args, invocation).await,
    }
}

/// The configuration of a command that only looks: it must not begin a new store.
pub(super) fn config_with_data(invocation: &Invocation) -> anyhow::Result<Config> {
    let config = invocation.load(None, Vec::new())?.config;
    if app::has_store(&config) {
        return Ok(config);
    }
    let message = format!("there is no data of mediaforge in {}", config.data_dir.display());
    let hint = "--data-dir names another place; `mediaforge serve` begins a new one";
    Err(Failure::new(Exit::Usage, message).hint(hint).into())
}

async fn grant(args: GrantArgs, invocation: &Invocation) -> anyhow::Result<Exit> {
    let GrantArgs { account: Name(account), amount, reason, once, json } = args;
    let config = invocation.load(None, Vec::new())?.config;
    let accounts = app::open_store(&config).await.context("cannot open the data")?.accounts;
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
        output::note(format!("nothing changed: {} credits were granted under this key on {when} UTC", before.amount));
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
    fn an_account_is_a_user_or_says_what_it_is() {
        let account = |text: &str| text.parse::<Name>().map(|name| name.0.to_string());
        assert_eq!(account("ada").unwrap(), "users/ada");
        assert_eq!(account("users/ada").unwrap(), "users/ada");
        assert_eq!(account("teams/acme").unwrap(), "teams/acme");
        for wrong in ["", "/", "ada/", "team/acme", "users/..", "a b"] {
            assert!(account(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_welcome_is_no_key_of_an_operator() {
        assert!(once("welcome").is_err() && once(" ").is_err() && reason("a\nb").is_err());
        assert_eq!(once("invoice-7"), Ok("invoice-7".to_owned()));
    }
}
