//! `mediaforge team`

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Exit, Failure, Invocation, credits::config_with_data, output};
use crate::{
    app,
    domain::ids::{TeamId, UserId},
};

/// Say who belongs to which team: members share the team's credits and brands
///
/// Works on the store itself, in the data directory or in Firestore, also while `mediaforge serve` runs on it. What
/// somebody asked for before stays with the account that paid for it.
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  mediaforge team add acme ada bob
  mediaforge credits grant teams/acme 500
  mediaforge team show ada
  mediaforge team remove acme bob"
)]
pub(super) struct TeamArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Put people into a team, and out of the one they were in
    Add(MembersArgs),
    /// Take people out of a team
    Remove(MembersArgs),
    /// Show which team people are in
    Show(ShowArgs),
}

#[derive(Debug, Args)]
struct MembersArgs {
    /// The team; it needs no other beginning than its first member
    #[arg(value_name = "TEAM")]
    team: TeamId,
    /// Who
    #[arg(value_name = "USER", required = true)]
    users: Vec<UserId>,
    /// Print one JSON object: the team of each
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// Who
    #[arg(value_name = "USER", required = true)]
    users: Vec<UserId>,
    /// Print one JSON object: the team of each
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: TeamArgs, invocation: &Invocation) -> anyhow::Result<Exit> {
    let (config, users, json) = match &args.command {
        Command::Add(args) => (invocation.load(None, Vec::new())?.config, &args.users, args.json),
        Command::Remove(args) => (config_with_data(invocation)?, &args.users, args.json),
        Command::Show(args) => (config_with_data(invocation)?, &args.users, args.json),
    };
    let accounts = app::open_store(&config).await.context("cannot open the data")?.accounts;
    let mut teams = Vec::new();
    for user in users {
        teams.push((user, accounts.team_of(user).await?));
    }
    match &args.command {
        Command::Show(_) => {}
        Command::Add(MembersArgs { team, .. }) => {
            for (user, now) in &mut teams {
                accounts.set_team(user, Some(team)).await?;
                if let Some(before) = now.replace(team.clone()).filter(|before| before != team) {
                    output::note(format!("{user} was in {before} before"));
                }
            }
        }
        Command::Remove(MembersArgs { team, .. }) => {
            // All or nothing: a slip in one name must not take the others out.
            if let Some((user, now)) = teams.iter().find(|(_, now)| now.as_ref() != Some(team)) {
                let now = now.as_ref().map_or("in no team".to_owned(), |now| format!("in {now}"));
                let message = format!("{user} is not in {team} but {now}");
                return Err(Failure::new(Exit::Usage, message).hint("nothing was changed").into());
            }
            for (user, now) in &mut teams {
                accounts.set_team(user, None).await?;
                *now = None;
            }
        }
    }
    if json {
        let shown: serde_json::Map<_, _> = teams.iter().map(|(user, team)| (user.to_string(), json!(team))).collect();
        output::line(json!({ "teams": shown }).to_string())?;
    } else {
        for (user, team) in &teams {
            match team {
                Some(team) => output::line(format!("{user} is in {team}: teams/{team} pays for new jobs"))?,
                None => output::line(format!("{user} is in no team: users/{user} pays for new jobs"))?,
            }
        }
    }
    Ok(Exit::Done)
}
