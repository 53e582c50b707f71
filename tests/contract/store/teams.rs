//! Teams: users who share credits and jobs.

use std::collections::BTreeSet;

use mediaforge::{
    domain::{
        clock::SystemRandom,
        credits::Account,
        ids::{AccountId, JobId},
        job::Status,
        kind::JobKind,
    },
    store::{Inserted, JobFilter, Owner, PageRequest},
};

use super::Backend;
use crate::support::{New, account, at, finish, inserted, team, user};

pub async fn a_user_is_in_one_team_at_a_time_or_in_none<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    assert_eq!(store.accounts.team_of(&user("ada")).await.expect("a read"), None, "an unknown user is in no team");
    store.accounts.set_team(&user("ada"), None).await.expect("out of none");
    for name in ["acme", "acme", "zoo"] {
        store.accounts.set_team(&user("ada"), Some(&team(name))).await.expect("into a team");
        assert_eq!(store.accounts.team_of(&user("ada")).await.expect("a read"), Some(team(name)));
    }
    assert_eq!(store.accounts.team_of(&user("bob")).await.expect("a read"), None);
    for _ in 0..2 {
        store.accounts.set_team(&user("ada"), None).await.expect("out of it");
        assert_eq!(store.accounts.team_of(&user("ada")).await.expect("a read"), None);
    }
}

pub async fn a_team_survives_a_reopen_and_is_seen_by_another_process<B: Backend>() {
    let backend = B::open().await;
    backend.store().accounts.set_team(&user("ada"), Some(&team("acme"))).await.expect("into a team");
    let there = backend.second();
    assert_eq!(there.accounts.team_of(&user("ada")).await.expect("a read"), Some(team("acme")));
    there.accounts.set_team(&user("bob"), Some(&team("acme"))).await.expect("into a team");
    assert_eq!(backend.store().accounts.team_of(&user("bob")).await.expect("a read"), Some(team("acme")));
    drop(there);
    let backend = backend.reopen().await;
    let store = backend.store();
    for name in ["ada", "bob"] {
        assert_eq!(store.accounts.team_of(&user(name)).await.expect("a read"), Some(team("acme")));
    }
}

pub async fn a_team_pays_for_its_members_and_not_for_others<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let new = |user| New { user, team: Some("acme"), price: 3, grant: 10, ..New::default() };
    finish(&store, &inserted(&store, new("ada")).await).await;
    inserted(&store, new("bob")).await;
    inserted(&store, New { price: 3, grant: 10, ..New::default() }).await;
    let shared =
        store.accounts.account(&AccountId::Team(team("acme"))).await.expect("a read").expect("the team's account");
    assert_eq!(shared, Account { available: 4, held: 3, spent: 3, granted: 10 }, "one starting grant per team");
    let own = store.accounts.account(&account("ada")).await.expect("a read").expect("her own account");
    assert_eq!(own, Account { available: 7, held: 3, spent: 0, granted: 10 });
    assert_eq!(store.accounts.account(&account("bob")).await.expect("a read"), None);
}

pub async fn an_insert_reports_that_the_user_is_in_another_team<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let id = || JobId::random(JobKind::Illustration, &SystemRandom);
    let (of_acme, own) = (New { team: Some("acme"), ..New::default() }, New::default());
    let refused = of_acme.submit_as(id());
    assert_eq!(store.jobs.insert(&refused).await.expect("an answer"), Inserted::OtherTeam(None));
    assert_eq!(store.jobs.get(&refused.job.id).await.expect("a read"), None);
    assert_eq!(
        store.accounts.account(&AccountId::Team(team("acme"))).await.expect("a read"),
        None,
        "nothing was written"
    );

    let first = inserted(&store, own).await;
    store.accounts.set_team(&user("ada"), Some(&team("acme"))).await.expect("into the team");
    let answer = store.jobs.insert(&New::default().submit_as(id())).await.expect("an answer");
    assert_eq!(answer, Inserted::OtherTeam(Some(team("acme"))));
    let answer = store.jobs.insert(&of_acme.submit_as(id())).await.expect("an answer");
    assert!(matches!(answer, Inserted::New { .. }), "{answer:?}");
    let again = store.jobs.insert(&New::default().submit_as(first.value.id.clone())).await.expect("an answer");
    assert!(
        matches!(again, Inserted::Existing(_)),
        "a repeat finds its job whatever team its user is in now: {again:?}"
    );
}

pub async fn a_list_of_a_team_is_newest_first_page_by_page<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let mut expected = Vec::new();
    for n in 0..7 {
        // Two jobs share each moment: their ids decide.
        let user = if n % 3 == 0 { "ada" } else { "bob" };
        let job = inserted(&store, New { user, team: Some("acme"), now: at(n / 2), ..New::default() }).await;
        expected.push((job.value.created_at, job.value.id.clone()));
        // These do not belong to the list: another team's job, and one that a member paid for alone.
        inserted(&store, New { user, team: Some("zoo"), now: at(n), ..New::default() }).await;
        inserted(&store, New { user, now: at(n), ..New::default() }).await;
    }
    expected.sort_by(|a, b| b.cmp(a));
    let owner = Owner::Team(team("acme"));
    let filter = JobFilter { owner: owner.clone(), kind: JobKind::Illustration, statuses: BTreeSet::new() };
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store.jobs.list(&filter, &PageRequest { limit: 2, after }).await.expect("a page");
        assert!(page.items.len() <= 2);
        seen.extend(page.items.iter().map(|job| (job.value.created_at, job.value.id.clone())));
        after = seen.last().map(|(_, id)| id.clone());
        if !page.has_more {
            break;
        }
    }
    assert_eq!(seen, expected);

    let done = JobFilter { statuses: [Status::Succeeded].into(), ..filter };
    let all = PageRequest { limit: 10, after: None };
    assert!(store.jobs.list(&done, &all).await.expect("a page").items.is_empty());
    let brands = JobFilter { owner, kind: JobKind::Brand, statuses: BTreeSet::new() };
    assert!(store.jobs.list(&brands, &all).await.expect("a page").items.is_empty());
    // A job that does not belong to the list is not a position in it.
    let own = JobFilter { owner: Owner::User(user("ada")), kind: JobKind::Illustration, statuses: BTreeSet::new() };
    let foreign = store.jobs.list(&own, &PageRequest { limit: 1, after: None }).await.expect("a page").items;
    let foreign = foreign.first().expect("a row").value.id.clone();
    let filter = JobFilter { statuses: BTreeSet::new(), ..done };
    let page = store.jobs.list(&filter, &PageRequest { limit: 1, after: Some(foreign) }).await.expect("a page");
    assert!(page.items.is_empty() && !page.has_more);
}
