//! The rules that must hold at the end of a run.

use std::collections::BTreeMap;

use mediaforge::{
    domain::{
        credits::Verb,
        failure::ErrorCode,
        hex,
        ids::JobId,
        job::{DeadLettering, Job, State, Work},
    },
    media::MediaKey,
};
use sha2::{Digest as _, Sha256};

use crate::{
    audit,
    plan::Fault,
    process::Fate,
    records::{Past, Records, Row},
    trainer::OperationState,
    watcher::Target,
    world::World,
};

/// How many engine calls one attempt at a training may make.
const SAMPLES: u64 = 3;

/// Checks everything.
pub fn all(world: &World) {
    let mut wrong = Vec::new();
    {
        let records = world.records.lock().expect("a lock");
        accepted_jobs_are_finished(world, &records, &mut wrong);
        credits_are_settled(&records, &mut wrong);
        pictures_are_there(world, &records, &mut wrong);
        providers_were_asked_no_more_than_allowed(world, &records, &mut wrong);
        dead_letters_are_out(world, &records, &mut wrong);
        nothing_goes_on_at_the_provider(world, &records, &mut wrong);
        watchers_know(world, &records, &mut wrong);
    }
    for (rule, about) in wrong {
        world.violation(rule, about);
    }
}

type Wrong = Vec<(&'static str, String)>;

fn accepted_jobs_are_finished(world: &World, records: &Records, wrong: &mut Wrong) {
    const RULE: &str = "I1 an accepted job reaches a final state";
    for row in records.rows.values() {
        let job = &row.job.value;
        if !job.status().is_final() {
            wrong.push((RULE, format!("{} is {:?}", job.id, job.state)));
        } else if let Some(due) = job.due_at() {
            wrong.push(("I8 nothing is overdue", format!("{} since {due}", job.id)));
        }
    }
    for (id, accepted) in &world.clients.lock().expect("a lock").accepted {
        match records.rows.get(id) {
            Some(row) if row.job.value.user != accepted.user => wrong.push((RULE, format!("{id} is another's"))),
            None if !accepted.may_be_gone => wrong.push((RULE, format!("{id} has disappeared"))),
            _ => {}
        }
    }
}

fn credits_are_settled(records: &Records, wrong: &mut Wrong) {
    for (id, account) in &records.accounts {
        if account.held > 0 {
            wrong.push(("I2 nothing is held at the end", format!("{id}: {account:?}")));
        }
    }
    let mut holds: BTreeMap<String, [u64; 4]> = BTreeMap::new();
    let mut captures: BTreeMap<&JobId, Vec<u64>> = BTreeMap::new();
    for entry in records.ledger.values().flatten() {
        let Some(job) = &entry.job_id else { continue };
        let hold = entry.id.rsplit_once(':').map_or(entry.id.clone(), |(hold, _)| hold.to_owned());
        holds.entry(hold).or_default()[entry.verb as usize] += entry.amount;
        if entry.verb == Verb::Capture {
            captures.entry(job).or_default().push(entry.amount);
        }
    }
    for (hold, sums) in holds {
        let [_, held, paid, returned] = sums;
        if held != paid + returned {
            wrong.push(("I3 a hold is settled once, in full", format!("{hold}: {sums:?}")));
        }
    }
    for row in records.rows.values() {
        let job = &row.job.value;
        let paid = captures.get(&job.id).map(Vec::as_slice).unwrap_or_default();
        let owed = match &job.state {
            State::Succeeded { output, .. } => u64::from(output.delivered()) * job.hold.unit,
            _ => 0,
        };
        if paid.iter().sum::<u64>() != owed || paid.len() > 1 {
            wrong
                .push(("I3 what was delivered is paid, and nothing else", format!("{}: {paid:?}, not {owed}", job.id)));
        }
    }
    for (id, paid) in captures {
        if paid.len() > 1 {
            wrong.push(("I3 a job is paid once", format!("{id}: {paid:?}")));
        }
    }
}

fn pictures_are_there(world: &World, records: &Records, wrong: &mut Wrong) {
    const RULE: &str = "I4 what was delivered is there";
    let objects = world.objects.lock().expect("a lock");
    let clients = world.clients.lock().expect("a lock");
    let mut used = Vec::new();
    for Row { job, .. } in records.rows.values() {
        // A deletion that was interrupted has removed the pictures; its repeat removes the job.
        if clients.accepted.get(&job.value.id).is_some_and(|accepted| accepted.may_be_gone) {
            continue;
        }
        let mut keys = Vec::new();
        if let Work::Brand(brand) = &job.value.work {
            keys.extend(brand.images.iter().map(|image| image.key.clone()));
        }
        if let State::Succeeded { output, .. } = &job.value.state {
            for image in audit::pictures(output) {
                let found = image.key.parse::<MediaKey>().ok().and_then(|key| objects.get(&key));
                let fits = found.is_some_and(|(bytes, _)| {
                    bytes.len() as u64 == image.bytes && hex::encode(&Sha256::digest(bytes)) == image.sha256
                });
                if !fits {
                    wrong.push((RULE, format!("{} of {}", image.key, job.value.id)));
                }
                used.push(image.key.clone());
            }
            if let mediaforge::domain::job::Output::Pictures(pictures) = output {
                keys.extend(pictures.thumbnail_key.clone());
            }
        }
        for key in keys {
            if key.parse::<MediaKey>().ok().is_none_or(|key| !objects.contains_key(&key)) {
                wrong.push((RULE, format!("{key} of {}", job.value.id)));
            }
            used.push(key);
        }
    }
    // Pictures of attempts that died may stay until their job is deleted, so they are only counted.
    for key in objects.keys().filter(|key| !key.as_str().starts_with("uploads/")) {
        if !used.iter().any(|used| used == key.as_str()) {
            world.count("object that no job refers to");
        }
    }
}

fn providers_were_asked_no_more_than_allowed(world: &World, records: &Records, wrong: &mut Wrong) {
    const RULE: &str = "I7 providers are asked once for each claim";
    let calls = world.calls.lock().expect("a lock");
    let most = u64::from(world.plan.config.policy.retry.max_attempts);
    for Row { job: found, past, .. } in records.rows.values() {
        let job = &found.value;
        let asked = calls.0.get(&job.id).copied().unwrap_or_default();
        let per_claim = if is_training(job) { SAMPLES } else { 1 };
        if asked > past.all_starts * per_claim {
            wrong.push((RULE, format!("{}: {asked} calls, {} claims", job.id, past.all_starts)));
        }
        if past.starts > most + past.uncounted {
            let Past { starts, uncounted, .. } = past;
            wrong.push((
                "I7 attempts are bounded",
                format!("{}: {starts} claims, {uncounted} not counted, {most} allowed", job.id),
            ));
        }
    }
    let operations = world.operations.lock().expect("a lock");
    for id in records.rows.keys() {
        let of_job = operations.0.values().filter(|operation| operation.job == *id);
        let sound = of_job.filter(|operation| operation.state() != OperationState::Failed).count();
        if sound > 1 {
            wrong.push(("I7 a training is begun once", format!("{id}: {sound} operations")));
        }
    }
}

fn is_training(job: &Job) -> bool {
    matches!(job.work, Work::Brand(_))
}

fn dead_letters_are_out(world: &World, records: &Records, wrong: &mut Wrong) {
    const RULE: &str = "I8 a job that ran out of attempts has a dead letter";
    let dead_letters = world.dead_letters.lock().expect("a lock");
    for Row { job, .. } in records.rows.values() {
        let job = &job.value;
        let key = format!("{}:{}", job.id, job.hold.number);
        let is_out = dead_letters.recorded.contains_key(&key);
        match &job.state {
            State::Failed { dead_lettering: DeadLettering::Done, .. } if is_out => {}
            State::Failed { dead_lettering: DeadLettering::NotNeeded, .. } if !is_out => {}
            State::Failed { .. } => wrong.push((RULE, format!("{key}: {:?}, recorded: {is_out}", job.state))),
            _ if is_out => wrong.push(("I8 only failed jobs have dead letters", key)),
            _ => {}
        }
    }
}

fn nothing_goes_on_at_the_provider(world: &World, records: &Records, wrong: &mut Wrong) {
    let operations = world.operations.lock().expect("a lock");
    for (name, operation) in &operations.0 {
        let Some(ending) = records.endings.get(&operation.job).filter(|ending| operation.outlives(ending.at)) else {
            continue;
        };
        world.count("training left behind");
        // The process that ends a job stops the training once, after the end is written. So the training goes on if that
        // process died in between, or never learnt that it had ended the job, or the provider did not stop it; and if its
        // worker died (or lost the provider's reply) before the operation was recorded.
        // An attempt finds out whether its end was written. A cancel and a sweep whose reply is lost read the job once, and
        // that reply may be lost, too; for the next process the job is finished.
        let by_attempt = records.rows.get(&operation.job).is_some_and(|row| match &row.job.value.state {
            State::Failed { error, .. } => !matches!(error.code, ErrorCode::WorkerLost | ErrorCode::DeadlineExceeded),
            _ => false,
        });
        let finds_out = by_attempt && ending.fate == Fate::ReplyLost;
        let is_known = !ending.by.is_dead() && (ending.fate == Fate::Fine || finds_out);
        let hung_up = world.counted(Fault::ClientHangsUp.name()) > 0;
        if is_known && operation.is_recorded && !operation.is_unwanted && !hung_up {
            wrong.push(("I8 no training goes on for a job that is over", format!("{name} of {}", operation.job)));
        }
    }
}

fn watchers_know(world: &World, records: &Records, wrong: &mut Wrong) {
    const RULE: &str = "a watcher sees the final state";
    for watch in &world.clients.lock().expect("a lock").watches {
        if !watch.is_open || watch.process.is_dead() {
            continue;
        }
        match &watch.target {
            Target::Job(id) if records.rows.contains_key(id) => wrong.push((RULE, format!("{id} is still watched"))),
            Target::Job(_) => {}
            Target::User(user, begun) => {
                for row in records.rows.values().filter(|row| row.job.value.user == *user && row.seq > *begun) {
                    let seen = watch.seen.get(&row.job.value.id).map(|seen| seen.0);
                    if seen != Some(row.job.version) {
                        wrong.push((RULE, format!("{} at {:?}, not {seen:?}", row.job.value.id, row.job.version)));
                    }
                }
            }
        }
    }
}
