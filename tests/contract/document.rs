//! A job survives the round trip through its document, in every state.

use std::collections::BTreeSet;

use mediaforge::{
    domain::{
        Timestamp,
        brand::{BrandSpec, TrainedBrand, TrainingImage},
        clock::SystemRandom,
        failure::{ErrorCode, JobError},
        ids::{JobId, RequestHash, TeamId, UserId, WorkerId},
        job::{DeadLettering, Hold, Job, JobRecord, Lease, Output, Pictures, Progress, State, Work},
        kind::JobKind,
        palette::Rgb,
        request::IllustrationSpec,
        stored_image::StoredImage,
        style::{Learnt, Style},
        trace::TraceContext,
    },
    store::{
        Version, Versioned,
        document::{InvalidDocument, JobDocument},
    },
};
use proptest::{option, prelude::*};

use crate::{
    firestore::INDEXES,
    support::{Anything, New},
};

fn moment() -> impl Strategy<Value = Timestamp> {
    (0_i64..4_000_000_000_000_000).prop_map(|at| Timestamp::from_microsecond(at).expect("a moment"))
}

fn error() -> impl Strategy<Value = JobError> {
    let codes = [ErrorCode::RateLimited, ErrorCode::ContentFiltered, ErrorCode::Internal];
    (proptest::sample::select(codes.to_vec()), any::<String>()).prop_map(|(code, text)| JobError::new(code, text))
}

fn progress() -> impl Strategy<Value = Progress> {
    let steps = option::of(any::<u32>());
    (0.0..=1.0_f64, steps.clone(), steps.clone(), steps)
        .prop_map(|(fraction, step, total_steps, eta_seconds)| Progress { fraction, step, total_steps, eta_seconds })
}

fn image() -> impl Strategy<Value = StoredImage> {
    (any::<String>(), any::<u32>(), any::<u64>()).prop_map(|(key, side, bytes)| StoredImage {
        key,
        width: side,
        height: side / 2,
        bytes,
        sha256: "ab".repeat(32),
    })
}

fn pictures() -> impl Strategy<Value = Output> {
    let images = proptest::collection::vec(image(), 1..4);
    let text = any::<String>;
    (images, option::of(text()), text(), text(), option::of(any::<u32>()), any::<u64>()).prop_map(
        |(images, thumbnail_key, model, final_prompt, seed, number)| {
            Output::Pictures(Pictures {
                images,
                thumbnail_key,
                filtered: seed.unwrap_or(3),
                model,
                final_prompt,
                seed,
                cost_micro_usd: number,
                generation_ms: number / 2,
            })
        },
    )
}

fn colors() -> impl Strategy<Value = Vec<Rgb>> {
    let color = any::<u32>().prop_map(|bits| format!("#{:06x}", bits & 0xff_ffff).parse().expect("a colour"));
    proptest::collection::vec(color, 0..6)
}

fn trained() -> impl Strategy<Value = Output> {
    let samples = proptest::collection::vec(image(), 0..4);
    (colors(), option::of(any::<String>()), samples, any::<u64>()).prop_map(|(palette, model_path, samples, number)| {
        let cost_micro_usd = number;
        Output::Brand(TrainedBrand { palette, model_path, samples, cost_micro_usd, training_ms: number / 2 })
    })
}

fn state(output: BoxedStrategy<Output>) -> impl Strategy<Value = State> {
    let text = option::of(any::<String>());
    let queued = (any::<u32>(), moment(), moment(), any::<u32>(), option::of(error()), text.clone()).prop_map(
        |(attempt, not_before, publish_at, published, last_error, operation)| State::Queued {
            attempt,
            not_before,
            publish_at,
            published,
            last_error,
            operation,
        },
    );
    let running = (any::<u32>(), moment(), moment(), text, option::of(progress()), option::of(moment())).prop_map(
        |(attempt, expires_at, started_at, operation, progress, cancel_by)| State::Running {
            attempt,
            lease: Lease { owner: WorkerId::new(7, &SystemRandom), expires_at },
            started_at,
            operation,
            progress,
            cancel_by,
        },
    );
    let letters = [DeadLettering::NotNeeded, DeadLettering::Pending, DeadLettering::Done].to_vec();
    prop_oneof![
        queued,
        running,
        (any::<u32>(), output, moment()).prop_map(|(attempt, output, at)| State::Succeeded { attempt, output, at }),
        (any::<u32>(), error(), proptest::sample::select(letters), moment())
            .prop_map(|(attempt, error, dead_lettering, at)| State::Failed { attempt, error, dead_lettering, at }),
        (any::<u32>(), moment()).prop_map(|(attempt, at)| State::Cancelled { attempt, at }),
    ]
}

fn illustration() -> BoxedStrategy<Work> {
    let texts = (any::<String>(), any::<String>(), any::<String>());
    let learnt = (proptest::collection::vec(any::<String>(), 0..4), option::of(any::<String>()));
    (texts, colors(), learnt, any::<u32>(), any::<u32>(), option::of(any::<u32>()))
        .prop_map(|((prompt, name, modifier), palette, (references, model_path), width, count, seed)| {
            let learnt = Learnt { references, model_path };
            let style = Style { id: "ink".to_owned(), name, description: String::new(), modifier, palette, learnt };
            Work::Illustration(IllustrationSpec { prompt, style, width, height: width / 2, count, seed })
        })
        .boxed()
}

fn brand() -> BoxedStrategy<Work> {
    let image =
        (any::<String>(), any::<u32>()).prop_map(|(key, side)| TrainingImage { key, width: side, height: side / 2 });
    let images = proptest::collection::vec(image, 0..6);
    (any::<String>(), colors(), images)
        .prop_map(|(name, colors, images)| Work::Brand(BrandSpec { name, colors, images }))
        .boxed()
}

fn job() -> impl Strategy<Value = Job> {
    prop_oneof![
        job_of(JobKind::Illustration, illustration(), pictures().boxed()),
        job_of(JobKind::Brand, brand(), trained().boxed()),
    ]
}

fn job_of(kind: JobKind, work: BoxedStrategy<Work>, output: BoxedStrategy<Output>) -> impl Strategy<Value = Job> {
    let hold =
        (any::<u32>(), any::<u64>(), any::<u32>()).prop_map(|(number, unit, units)| Hold { number, unit, units });
    let user = "[a-z0-9][a-z0-9_.@+-]{0,20}".prop_map(|name| name.parse::<UserId>().expect("a user id"));
    let team = option::of("[a-z0-9]{1,9}".prop_map(|name| name.parse::<TeamId>().expect("a team id")));
    (work, hold, user, team, state(output), moment(), option::of(moment()), any::<bool>()).prop_map(
        move |(work, hold, user, team, state, created_at, started_at, is_traced)| {
            Job::from_record(JobRecord {
                id: JobId::random(kind, &SystemRandom),
                request_hash: RequestHash::of(user.as_str().as_bytes()),
                user,
                team,
                work,
                state,
                hold,
                trace: is_traced.then(|| TraceContext::root(&SystemRandom)),
                created_at,
                started_at,
                deadline: created_at,
            })
        },
    )
}

/// The fields that queries use. An index of any other Firestore field makes each write more expensive.
const INDEXED: [&str; 6] = ["illustrationId", "brandId", "userId", "teamId", "status", "dueAt"];

/// The fields that Firestore does not index, per kind.
fn exempt(kind: JobKind) -> BTreeSet<String> {
    let indexes: serde_json::Value = serde_json::from_str(INDEXES).expect("JSON");
    let collection = if kind == JobKind::Brand { "brands" } else { "illustrations" };
    let overrides = indexes["fieldOverrides"].as_array().into_iter().flatten();
    let own = overrides.filter(|it| it["collectionGroup"] == collection);
    own.filter_map(|it| it["fieldPath"].as_str().map(str::to_owned)).collect()
}

proptest! {
    #[test]
    fn what_no_query_goes_by_is_not_indexed(job in job()) {
        let document = serde_json::to_value(JobDocument::new(&job, Version(1)))?;
        let exempt = exempt(job.kind());
        for field in document.as_object().expect("a document").keys() {
            prop_assert!(exempt.contains(field) || INDEXED.contains(&field.as_str()), "{} is indexed", field);
        }
    }

    #[test]
    fn a_job_comes_back_from_its_document_as_it_was(job in job(), version in 1..u64::MAX) {
        let written = serde_json::to_string(&JobDocument::new(&job, Version(version)))?;
        let read: JobDocument = serde_json::from_str(&written)?;
        prop_assert_eq!(read.into_job()?, Versioned { version: Version(version), value: job });
    }
}

#[test]
fn a_field_of_a_newer_build_is_ignored() -> Anything {
    let first = New::default().submit();
    let mut document = serde_json::to_value(JobDocument::new(&first.job, Version(1)))?;
    document["aNewField"] = serde_json::json!({ "deep": [1] });
    let read: JobDocument = serde_json::from_value(document)?;
    assert_eq!(read.into_job()?.value, first.job);
    Ok(())
}

#[test]
fn a_field_that_the_status_needs_is_missed_by_name() {
    let first = New::default().submit();
    let mut document = JobDocument::new(&first.job, Version(1));
    document.not_before = None;
    let missing = InvalidDocument::Missing { status: "queued".to_owned(), field: "notBefore" };
    assert_eq!(document.into_job(), Err(missing));
}

#[test]
fn the_document_is_flat_and_speaks_the_words_of_the_api() -> Anything {
    let first = New::default().submit();
    let document = serde_json::to_value(JobDocument::new(&first.job, Version(1)))?;
    let fields = [
        "illustrationId",
        "userId",
        "prompt",
        "styleId",
        "styleName",
        "width",
        "height",
        "count",
        "seed",
        "status",
        "attempt",
        "createdAt",
        "version",
        "dueAt",
        "requestHash",
    ];
    for field in fields {
        assert!(document.get(field).is_some(), "{field} is missing in {document}");
    }
    assert_eq!(document["status"], "queued");
    Ok(())
}
