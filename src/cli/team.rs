//! `mediaforge team`

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Exit, Failure, Invocation, credits::config_of_existing_store, output};
use crate::{
    app,
    domain::ids::{TeamId, UserId},
};

/// Manage teams: members share the credits and brands of their team
///
/// Reads and writes the store directly (the data directory or Firestore), even while `mediaforge serve` is running. Jobs
/// that a user submitted before joining or leaving a team stay with the account that paid for them.
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
    /// Add users to a team; they leave the team they were in
    Add(MembersArgs),
    /// Remove users from a team
    Remove(MembersArgs),
    /// Show the team of each user
    Show(ShowArgs),
}

#[derive(Debug, Args)]
struct MembersArgs {
    /// The team. Adding its first member creates it
    #[arg(value_name = "TEAM")]
    team: TeamId,
    /// The users
    #[arg(value_name = "USER", required = true)]
    users: Vec<UserId>,
    /// Print one JSON object with the team of each user
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// The users
    #[arg(value_name = "USER", required = true)]
    users: Vec<UserId>,
    /// Print one JSON object with the team of each user
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: TeamArgs, invocation: &Invocation) -> anyhow::Result<Exit> {
    let (config, users, json) = match &args.command {
        Command::Add(args) => (invocation.load(None, Vec::new())?.config, &args.users, args.json),
        Command::Remove(args) => (config_of_existing_store(invocation)?, &args.users, args.json),
        Command::Show(args) => (config_of_existing_store(invocation)?, &args.users, args.json),
    };
    let accounts = app::open_store(&config).await.context("cannot open the store")?.accounts;
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
            // All or nothing, so that a typo in one name does not remove only the others.
            if let Some((user, now)) = teams.iter().find(|(_, now)| now.as_ref() != Some(team)) {
                let now = now.as_ref().map_or("not in a team".to_owned(), |now| format!("in {now}"));
                let message = format!("{user} is not a member of {team} ({now})");
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
                None => output::line(format!("{user} is not in a team: users/{user} pays for new jobs"))?,
            }
        }
    }
    Ok(Exit::Done)
}
