//! Jobs, money and lists.

use std::{collections::BTreeSet, error::Error as _, num::NonZeroU32, time::Duration};

use mediaforge::{
    domain::{
        clock::{SystemRandom, after},
        credits::{Account, CreditsError, LedgerEntry, Verb},
        failure::{AttemptFailure, ErrorCode},
        ids::JobId,
        job::{JobPolicy, State, Status, Transition},
        kind::JobKind,
        retry::RetryPolicy,
    },
    store::{ErrorKind, Inserted, JobFilter, Owner, PageRequest, Version, Versioned},
};

use super::Backend;
use crate::support::{New, account, at, commit, finish, inserted, lease, output, policy, start, sum, user};

pub async fn a_new_job_is_stored_and_its_credits_are_held<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let first = New { price: 3, grant: 10, ..New::default() }.submit();
    let accepted = store.jobs.insert(&first).await.expect("an insert");
    assert!(matches!(accepted, Inserted::New { version: Version(1), .. }), "{accepted:?}");
    let found = store.jobs.get(&first.job.id).await.expect("a read").expect("the job");
    assert_eq!((found.version, found.value), (Version(1), first.job));
    let balance = store.accounts.account(&account("ada")).await.expect("a read").expect("the account");
    assert_eq!(balance, Account { available: 7, held: 3, spent: 0, granted: 10 });
}

pub async fn inserting_twice_finds_the_first<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let first = New { grant: 10, ..New::default() }.submit();
    store.jobs.insert(&first).await.expect("an insert");
    let again = New { grant: 10, price: 5, now: at(9), ..New::default() }.submit_as(first.job.id.clone());
    let Inserted::Existing(there) = store.jobs.insert(&again).await.expect("an answer") else {
        panic!("inserted twice")
    };
    assert_eq!((there.version, there.value), (Version(1), first.job));
    let balance = store.accounts.account(&account("ada")).await.expect("a read").expect("the account");
    assert_eq!(balance, Account { available: 9, held: 1, spent: 0, granted: 10 });
}

pub async fn an_account_that_cannot_pay_is_refused_without_a_write<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    inserted(&store, New { price: 4, grant: 5, ..New::default() }).await;
    let before = store.accounts.ledger(&account("ada"), 100).await.expect("a ledger");
    let second = New { price: 4, grant: 5, ..New::default() }.submit();
    let refused = store.jobs.insert(&second).await.expect("an answer");
    assert_eq!(refused, Inserted::Refused(CreditsError::Insufficient { needed: 4, available: 1 }));
    assert_eq!(store.jobs.get(&second.job.id).await.expect("a read"), None);
    assert_eq!(store.accounts.ledger(&account("ada"), 100).await.expect("a ledger"), before);
    // A first-time account that cannot pay is not even created.
    let poor = New { user: "bob", price: 4, grant: 1, ..New::default() }.submit();
    assert!(matches!(store.jobs.insert(&poor).await.expect("an answer"), Inserted::Refused(_)));
    assert_eq!(store.accounts.account(&account("bob")).await.expect("a read"), None);
}

pub async fn fifty_submits_with_credit_for_one_make_one_job<B: Backend>() {
    let backend = B::open().await;
    let submits: Vec<_> = (0..50)
        .map(|_| {
            let store = backend.store();
            let first = New { price: 2, grant: 3, ..New::default() }.submit();
            tokio::spawn(async move { store.jobs.insert(&first).await.expect("an answer") })
        })
        .collect();
    let mut accepted = 0;
    for submit in submits {
        match submit.await.expect("no panic") {
            Inserted::New { .. } => accepted += 1,
            Inserted::Refused(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(accepted, 1);
    let balance = backend.store().accounts.account(&account("ada")).await.expect("a read").expect("the account");
    assert_eq!(balance, Account { available: 1, held: 2, spent: 0, granted: 3 });
}

pub async fn fifty_submits_of_a_user_who_may_have_three_jobs_make_three<B: Backend>() {
    let backend = B::open().await;
    let submits: Vec<_> = (0..50)
        .map(|n| {
            // Like two processes.
            let store = if n % 2 == 0 { backend.store() } else { backend.second() };
            let first = New { grant: 100, ..New::default() }.submit().with_max_in_flight(NonZeroU32::new(3));
            tokio::spawn(async move { store.jobs.insert(&first).await.expect("an answer") })
        })
        .collect();
    let mut accepted = 0;
    for submit in submits {
        match submit.await.expect("no panic") {
            Inserted::New { .. } => accepted += 1,
            Inserted::TooManyJobs => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(accepted, 3);
    let balance = backend.store().accounts.account(&account("ada")).await.expect("a read").expect("the account");
    assert_eq!(balance, Account { available: 97, held: 3, spent: 0, granted: 100 });
}

pub async fn a_user_may_have_more_jobs_when_one_ends<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let submit = |user| New { user, grant: 100, ..New::default() }.submit().with_max_in_flight(NonZeroU32::new(2));
    let one = inserted(&store, New { grant: 100, ..New::default() }).await;
    // A running job counts like a queued one; jobs of other users do not count.
    let running = one.value.clone().start(start(), lease(at(60)), &policy()).expect("a start");
    let one = commit(&store, &one, running).await;
    inserted(&store, New { user: "bob", ..New::default() }).await;
    let second = submit("ada");
    assert!(matches!(store.jobs.insert(&second).await.expect("an answer"), Inserted::New { .. }));
    let third = submit("ada");
    let before = store.accounts.ledger(&account("ada"), 100).await.expect("a ledger");
    assert_eq!(store.jobs.insert(&third).await.expect("an answer"), Inserted::TooManyJobs);
    assert_eq!(store.jobs.get(&third.job.id).await.expect("a read"), None);
    assert_eq!(store.accounts.ledger(&account("ada"), 100).await.expect("a ledger"), before);
    // A repeat is not a further job.
    assert!(matches!(store.jobs.insert(&second).await.expect("an answer"), Inserted::Existing(_)));
    assert!(matches!(store.jobs.insert(&submit("bob")).await.expect("an answer"), Inserted::New { .. }));

    let done = one.value.clone().complete(at(1), output()).expect("an end");
    commit(&store, &one, done).await;
    assert!(matches!(store.jobs.insert(&third).await.expect("an answer"), Inserted::New { .. }));
}

pub async fn a_stale_commit_is_a_conflict<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let job = inserted(&store, New::default()).await;
    let running = job.value.clone().start(start(), lease(at(60)), &policy()).expect("a start");
    commit(&store, &job, running).await;
    let cancelled = job.value.clone().cancel(start()).expect("a cancellation");
    let refused = store.jobs.commit(job.version, &cancelled).await.expect_err("a stale commit");
    assert_eq!(refused.kind, ErrorKind::Conflict);
    let found = store.jobs.get(&job.value.id).await.expect("a read").expect("the job");
    assert_eq!((found.version, found.value.status()), (Version(2), Status::Running));
    let balance = store.accounts.account(&account("ada")).await.expect("a read").expect("the account");
    assert_eq!(balance.held, 1, "the refused commit's release must not count");
}

pub async fn a_missing_job_is_none_and_cannot_be_committed<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let missing = New::default().submit();
    assert_eq!(store.jobs.get(&missing.job.id).await.expect("a read"), None);
    assert_eq!(store.accounts.account(&account("ada")).await.expect("a read"), None);
    let refused = store.jobs.commit(Version(1), &missing).await.expect_err("a commit of a missing job");
    assert_eq!(refused.kind, ErrorKind::Conflict);
}

pub async fn concurrent_compare_and_set_loses_no_increment<B: Backend>() {
    const TASKS: u64 = 8;
    const EACH: u64 = 25;
    let backend = B::open().await;
    let job = inserted(&backend.store(), New::default()).await;
    let running = job.value.clone().start(start(), lease(start()), &policy()).expect("a start");
    let job = commit(&backend.store(), &job, running).await;
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (store, id) = (backend.store(), job.value.id.clone());
            tokio::spawn(async move {
                let mut done = 0;
                while done < EACH {
                    let now = store.jobs.get(&id).await.expect("a read").expect("the job");
                    let State::Running { lease, .. } = &now.value.state else { panic!("not running") };
                    let later = after(lease.expires_at, Duration::from_secs(1));
                    match store.jobs.commit(now.version, &now.value.renew(later, None).expect("a renewal")).await {
                        Ok(_) => done += 1,
                        Err(error) => assert_eq!(error.kind, ErrorKind::Conflict, "{error}"),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    let end = backend.store().jobs.get(&job.value.id).await.expect("a read").expect("the job");
    assert_eq!(end.version, Version(2 + TASKS * EACH));
    let State::Running { lease, .. } = &end.value.state else { panic!("not running") };
    assert_eq!(lease.expires_at, at(TASKS * EACH));
}

pub async fn everything_survives_a_reopen<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let waiting = inserted(&store, New::default()).await;
    let done = finish(&store, &inserted(&store, New { now: at(1), ..New::default() }).await).await;
    let entries = store.accounts.ledger(&account("ada"), 100).await.expect("a ledger");
    drop(store);
    let backend = backend.reopen().await;
    let store = backend.store();
    assert_eq!(store.jobs.get(&waiting.value.id).await.expect("a read"), Some(waiting));
    assert_eq!(store.jobs.get(&done.value.id).await.expect("a read"), Some(done));
    assert_eq!(store.accounts.ledger(&account("ada"), 100).await.expect("a ledger"), entries);
    assert_eq!(store.accounts.account(&account("ada")).await.expect("a read"), Some(sum(&entries)));
}

pub async fn a_ledger_entry_counts_once<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let grant = LedgerEntry::grant(account("ada"), "payment-1", 50, start());
    let first = store.accounts.adjust(&grant).await.expect("a grant");
    let again = store.accounts.adjust(&grant).await.expect("a repeat");
    assert_eq!((first, again), (again, Account { available: 50, held: 0, spent: 0, granted: 50 }));
    assert_eq!(store.accounts.ledger(&account("ada"), 100).await.expect("a ledger"), vec![grant]);
}

pub async fn a_jobs_ledger_entry_counts_once<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let first = New { price: 3, grant: 10, ..New::default() }.submit();
    let Ok(Inserted::New { version, .. }) = store.jobs.insert(&first).await else { panic!("not accepted") };
    let job = Versioned { version, value: first.job };
    let held = store.accounts.account(&account("ada")).await.expect("a read");
    let ledger = store.accounts.ledger(&account("ada"), 100).await.expect("a ledger");
    let running = job.value.clone().start(start(), lease(at(60)), &policy()).expect("a start");
    commit(&store, &job, Transition { ledger: first.ledger, ..running }).await;
    assert_eq!(store.accounts.account(&account("ada")).await.expect("a read"), held, "the same hold once more");
    assert_eq!(store.accounts.ledger(&account("ada"), 100).await.expect("a ledger"), ledger);
}

pub async fn the_balance_is_the_sum_of_the_ledger<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    for n in 0..4 {
        let job = inserted(&store, New { price: 5, grant: 100, now: at(n), ..New::default() }).await;
        if n % 2 == 0 {
            finish(&store, &job).await;
        } else {
            commit(&store, &job, job.value.clone().cancel(at(n)).expect("a cancellation")).await;
        }
    }
    let balance = store.accounts.account(&account("ada")).await.expect("a read").expect("the account");
    assert_eq!(balance, Account { available: 90, held: 0, spent: 10, granted: 100 });
    assert_eq!(sum(&store.accounts.ledger(&account("ada"), 100).await.expect("a ledger")), balance);
}

pub async fn a_redrive_that_cannot_be_paid_changes_nothing<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let job = inserted(&store, New { price: 3, grant: 5, ..New::default() }).await;
    let running = job.value.clone().start(start(), lease(at(60)), &policy()).expect("a start");
    let job = commit(&store, &job, running).await;
    let failure = AttemptFailure::fail(ErrorCode::InvalidRequest, "too odd");
    let job = commit(&store, &job, job.value.clone().fail(start(), failure, &policy(), 0.0).expect("a failure")).await;
    inserted(&store, New { price: 3, grant: 5, ..New::default() }).await;
    let before = store.accounts.ledger(&account("ada"), 100).await.expect("a ledger");
    let redriven = job.value.clone().redrive(at(1), Duration::from_mins(1), &policy()).expect("a redrive");
    let refused = store.jobs.commit(job.version, &redriven).await.expect_err("a hold of 3 from 2");
    assert_eq!(refused.kind, ErrorKind::Refused);
    let cause = refused.source().and_then(|cause| cause.downcast_ref::<CreditsError>());
    assert_eq!(cause, Some(&CreditsError::Insufficient { needed: 3, available: 2 }));
    assert_eq!(store.jobs.get(&job.value.id).await.expect("a read"), Some(job));
    assert_eq!(store.accounts.ledger(&account("ada"), 100).await.expect("a ledger"), before);
}

pub async fn overdue_jobs_are_listed_most_overdue_first<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let mut jobs = Vec::new();
    for seconds in [30, 10, 20, 500] {
        jobs.push(inserted(&store, New { now: at(seconds), ..New::default() }).await);
    }
    finish(&store, &inserted(&store, New { now: at(0), ..New::default() }).await).await;
    // Each is due 30 s after its submission.
    let due = store.jobs.due(at(70), 10).await.expect("a query");
    let ids: Vec<_> = due.iter().map(|job| &job.value.id).collect();
    assert_eq!(ids, [&jobs[1].value.id, &jobs[2].value.id, &jobs[0].value.id]);
    assert_eq!(store.jobs.due(at(70), 2).await.expect("a query"), due[..2]);
    assert_eq!(store.jobs.due(at(39), 10).await.expect("a query"), []);
}

pub async fn removable_jobs_are_listed_oldest_first<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let new = |seconds| New { now: at(seconds), ..New::default() };
    let done = finish(&store, &inserted(&store, new(20)).await).await;
    let job = inserted(&store, new(5)).await;
    let cancelled = commit(&store, &job, job.value.clone().cancel(at(10)).expect("a cancellation")).await;
    let young = finish(&store, &inserted(&store, new(50)).await).await;
    inserted(&store, new(0)).await;
    let job = inserted(&store, new(0)).await;
    let running = job.value.clone().start(at(0), lease(at(60)), &policy()).expect("a start");
    let running = commit(&store, &job, running).await;
    let last = JobPolicy { retry: RetryPolicy { max_attempts: 1, ..policy().retry }, ..policy() };
    let failure = AttemptFailure::retry(ErrorCode::EngineUnavailable, "no answer");
    let owing = running.value.clone().fail(at(1), failure, &last, 0.0).expect("a failure");
    let owing = commit(&store, &running, owing).await;

    let found = store.jobs.removable(at(50), 10).await.expect("a query");
    assert_eq!(
        found,
        [cancelled.clone(), done.clone()],
        "neither unfinished jobs, nor recent ones, nor those with a dead letter to send"
    );
    assert_eq!(store.jobs.removable(at(50), 1).await.expect("a query"), found[..1]);
    assert_eq!(store.jobs.removable(at(51), 10).await.expect("a query"), [cancelled, done, young]);

    let failed = commit(&store, &owing, owing.value.clone().mark_dead_lettered().expect("sent")).await;
    assert_eq!(store.jobs.removable(at(2), 10).await.expect("a query"), std::slice::from_ref(&failed));
    let redriven = failed.value.clone().redrive(at(90), Duration::from_mins(1), &policy()).expect("a redrive");
    commit(&store, &failed, redriven).await;
    assert_eq!(store.jobs.removable(at(2), 10).await.expect("a query"), [], "it runs again");
}

pub async fn a_ledger_read_returns_the_last_entries<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    for _ in 0..4 {
        // All have the same timestamp: the order is the order of the writes.
        finish(&store, &inserted(&store, New::default()).await).await;
    }
    let all = store.accounts.ledger(&account("ada"), 100).await.expect("a ledger");
    assert_eq!(all.len(), 9, "a grant, and a hold and a capture of each job");
    assert_eq!(all[0].verb, Verb::Grant);
    assert_eq!(store.accounts.ledger(&account("ada"), 3).await.expect("a ledger"), all[6..]);
    assert_eq!(store.accounts.ledger(&account("ada"), 0).await.expect("a ledger"), []);
    let entry = |of: &'static str, id: String| {
        let store = backend.store();
        async move { store.accounts.adjustment(&account(of), &id).await.expect("a read") }
    };
    assert_eq!(entry("ada", all[0].id.clone()).await.as_ref(), Some(&all[0]));
    assert_eq!(entry("ada", all[4].id.clone()).await, None, "a job's entry");
    assert_eq!(entry("ada", "grant:users:ada:nothing".to_owned()).await, None);
    assert_eq!(entry("bob", all[0].id.clone()).await, None, "another account's entry");
}

pub async fn pages_have_no_gaps_and_no_repeats<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let mut expected = Vec::new();
    for n in 0..7 {
        // Two jobs share each moment: their ids decide.
        let job = inserted(&store, New { now: at(n / 2), ..New::default() }).await;
        expected.push((job.value.created_at, job.value.id.clone()));
        inserted(&store, New { user: "bob", ..New::default() }).await;
    }
    expected.sort_by(|a, b| b.cmp(a));
    let filter = JobFilter { owner: Owner::User(user("ada")), kind: JobKind::Illustration, statuses: BTreeSet::new() };
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store.jobs.list(&filter, &PageRequest { limit: 3, after }).await.expect("a page");
        assert!(page.items.len() <= 3);
        seen.extend(page.items.iter().map(|job| (job.value.created_at, job.value.id.clone())));
        after = seen.last().map(|(_, id)| id.clone());
        if !page.has_more {
            break;
        }
    }
    assert_eq!(seen, expected);
    let end = store.jobs.list(&filter, &PageRequest { limit: 3, after }).await.expect("a page");
    assert!(end.items.is_empty() && !end.has_more);
    let unknown = Some(JobId::random(JobKind::Illustration, &SystemRandom));
    let nothing = store.jobs.list(&filter, &PageRequest { limit: 3, after: unknown }).await.expect("a page");
    assert!(nothing.items.is_empty() && !nothing.has_more);
}

pub async fn a_list_shows_only_the_selected_statuses<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let waiting = inserted(&store, New { now: at(1), ..New::default() }).await;
    let done = finish(&store, &inserted(&store, New { now: at(2), ..New::default() }).await).await;
    let cancelled = inserted(&store, New { now: at(3), ..New::default() }).await;
    let cancelled = commit(&store, &cancelled, cancelled.value.clone().cancel(at(4)).expect("cancelled")).await;
    for (statuses, expected) in [
        (vec![], vec![&cancelled, &done, &waiting]),
        (vec![Status::Queued], vec![&waiting]),
        (vec![Status::Cancelled, Status::Succeeded], vec![&cancelled, &done]),
        (vec![Status::Failed], vec![]),
    ] {
        let filter = JobFilter {
            owner: Owner::User(user("ada")),
            kind: JobKind::Illustration,
            statuses: statuses.into_iter().collect(),
        };
        let page = store.jobs.list(&filter, &PageRequest { limit: 10, after: None }).await.expect("a page");
        assert_eq!(page.items.iter().collect::<Vec<_>>(), expected, "{:?}", filter.statuses);
    }
    let other = JobFilter { owner: Owner::User(user("ada")), kind: JobKind::Brand, statuses: BTreeSet::new() };
    assert!(store.jobs.list(&other, &PageRequest { limit: 10, after: None }).await.expect("a page").items.is_empty());
}

pub async fn a_deleted_job_is_gone_and_its_key_is_spent<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let done = finish(&store, &inserted(&store, New::default()).await).await;
    let stale = store.jobs.delete(&done.value.id, Version(1)).await.expect_err("a stale delete");
    assert_eq!(stale.kind, ErrorKind::Conflict);
    store.jobs.delete(&done.value.id, done.version).await.expect("a delete");
    store.jobs.delete(&done.value.id, done.version).await.expect("a second delete is Ok");
    assert_eq!(store.jobs.get(&done.value.id).await.expect("a read"), None);
    let again = New::default().submit_as(done.value.id.clone());
    assert_eq!(store.jobs.insert(&again).await.expect("an answer"), Inserted::Deleted);
    let entries = store.accounts.ledger(&account("ada"), 100).await.expect("a ledger");
    assert_eq!(sum(&entries).spent, 1, "the payment stays");
}

pub async fn a_healthy_store_answers<B: Backend>() {
    B::open().await.store().jobs.ping().await.expect("an answer");
}
