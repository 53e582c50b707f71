//! The rules that every single change must obey.

use mediaforge::{
    domain::{
        credits::Account,
        ids::{AccountId, WorkerId},
        job::{DeadLettering, Job, Output, State, Status},
    },
    store::Versioned,
};

use crate::records::{Past, Records};

/// A rule and how it was broken.
pub type Broken = (&'static str, &'static str);

/// Counts the job's claims and returns what kind of change this is.
pub fn follow(before: Option<&Job>, next: &Versioned<Job>, past: &mut Past) -> Vec<&'static str> {
    let Some(before) = before else { return vec!["job accepted"] };
    let mut news = Vec::new();
    match (&before.state, &next.value.state) {
        (
            State::Running { attempt: one, lease: a, started_at: s, .. },
            State::Running { attempt: two, lease: b, started_at: t, .. },
        ) if one == two && a.owner == b.owner && s == t => {
            news.extend((a.expires_at != b.expires_at).then_some("lease renewed"));
        }
        (_, State::Running { attempt, operation, .. }) => {
            past.fence = next.version.0;
            past.starts += 1;
            past.all_starts += 1;
            news.push(if before.status() == Status::Running { "job taken over" } else { "job claimed" });
            if *attempt > 1 {
                news.push("attempt after the first");
            }
            if operation.is_some() {
                news.push("training re-attached");
            }
        }
        (State::Running { attempt: one, .. }, State::Queued { attempt: two, last_error, .. }) => {
            past.uncounted += u64::from(two < one);
            news.push(match last_error {
                None => "job handed back",
                Some(_) if two < one => "attempt throttled",
                Some(_) => "attempt failed, job requeued",
            });
        }
        (State::Queued { .. }, State::Queued { .. }) => news.push("job published again"),
        (State::Failed { .. }, State::Queued { .. }) => {
            *past = Past { all_starts: past.all_starts, ..Past::default() };
            news.push("job redriven");
        }
        (_, State::Succeeded { .. }) => news.push("job completed"),
        (State::Failed { .. }, State::Failed { .. }) => news.push("dead letter settled"),
        (_, State::Failed { dead_lettering: DeadLettering::Pending, .. }) => news.push("job failed, dead letter owed"),
        (_, State::Failed { .. }) => news.push("job failed"),
        (_, State::Cancelled { .. }) => news.push("job cancelled"),
        _ => {}
    }
    news
}

/// The rules that a change breaks.
pub fn change(
    before: Option<&Versioned<Job>>,
    next: &Versioned<Job>,
    past: &Past,
    by: Option<&WorkerId>,
) -> Vec<Broken> {
    const FINAL: &str = "I6 a final state is final";
    const FENCE: &str = "I6 only the attempt that holds the lease delivers";
    let mut broken = Vec::new();
    let Some(before) = before else { return broken };
    let (was, is) = (&before.value, &next.value);
    match (&was.state, &is.state) {
        (
            State::Failed { dead_lettering: DeadLettering::Pending, error, attempt, at },
            State::Failed { dead_lettering: DeadLettering::Done, error: same, attempt: number, at: when },
        ) if (error, attempt, at) == (same, number, when) => {}
        (State::Failed { .. }, State::Queued { .. }) if is.hold.number == was.hold.number + 1 => {}
        _ if was.status().is_final() => broken.push((FINAL, "it changed")),
        _ => {}
    }
    if let (State::Running { lease, attempt, .. }, State::Succeeded { attempt: by_attempt, output, .. }) =
        (&was.state, &is.state)
    {
        if by != Some(&lease.owner) || attempt != by_attempt {
            broken.push((FENCE, "another one delivered"));
        }
        let fence = format!("{attempt}-{}-", past.fence);
        let named = |key: &str| {
            key.rsplit('/').next().is_some_and(|name| name.trim_start_matches("sample-").starts_with(&fence))
        };
        if !pictures(output).iter().all(|image| named(&image.key)) {
            broken.push((FENCE, "the pictures are another attempt's"));
        }
    } else if is.status() == Status::Succeeded && was.status() != Status::Running {
        broken.push((FENCE, "nobody held it"));
    }
    match (&was.state, &is.state) {
        (State::Running { cancel_by: Some(by), .. }, State::Running { cancel_by: Some(same), .. }) if by == same => {}
        (State::Running { cancel_by: Some(_), .. }, State::Cancelled { .. }) => {}
        (State::Running { cancel_by: Some(_), .. }, _) => {
            broken.push(("a cancel that was written counts", "it did not"));
        }
        _ => {}
    }
    if let (State::Running { progress: Some(one), started_at: a, .. }, State::Running { progress, started_at: b, .. }) =
        (&was.state, &is.state)
        && a == b
        && progress.is_none_or(|two| two.fraction < one.fraction)
    {
        broken.push(("progress never falls", "it fell"));
    }
    let starts = past.starts.saturating_sub(past.uncounted);
    if u64::from(is.attempt()) > starts {
        broken.push(("I7 every attempt was claimed", "it counts more"));
    }
    broken
}

/// The pictures of an output.
pub fn pictures(output: &Output) -> &[mediaforge::domain::stored_image::StoredImage] {
    match output {
        Output::Pictures(pictures) => &pictures.images,
        Output::Brand(brand) => &brand.samples,
    }
}

/// The rules that the credits of an account break, given all of its jobs.
pub fn balance(records: &Records, id: &AccountId) -> Vec<Broken> {
    const RULE: &str = "I2 credits are conserved";
    let account = records.accounts.get(id).copied().unwrap_or_default();
    let jobs = records.rows.values().map(|row| &row.job.value).filter(|job| job.account() == *id);
    let held: u64 = jobs.filter(|job| !job.status().is_final()).map(|job| job.hold.amount()).sum();
    let mut broken = Vec::new();
    if !account.is_balanced() {
        broken.push((RULE, "available, held and spent are not what was granted"));
    }
    if account.held != held {
        broken.push((RULE, "what is held is not what the unfinished jobs hold"));
    }
    let entries = records.ledger.get(id).map(Vec::as_slice).unwrap_or_default();
    let sum = entries.iter().try_fold(Account::default(), Account::apply);
    if sum != Ok(account) {
        broken.push((RULE, "the ledger sums to another balance"));
    }
    let mut ids: Vec<_> = entries.iter().map(|entry| &entry.id).collect();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair[0] == pair[1]) {
        broken.push(("I3 an entry counts once", "it is in the ledger twice"));
    }
    broken
}
