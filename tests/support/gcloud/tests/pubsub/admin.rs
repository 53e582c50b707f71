//! Topics and subscriptions: created once, updated by a mask, refused if out of bounds.

use google_cloud_gax::error::{Error, rpc::Code};
use google_cloud_pubsub::model::{PushConfig, RetryPolicy, Subscription, Topic};
use google_cloud_wkt::{Duration, FieldMask};

use crate::support::{Cloud, DEAD, SUBSCRIPTION, TOPIC, dead_letters, to_jobs};

fn code(error: &Error) -> Option<Code> {
    error.status().map(|status| status.code)
}

#[tokio::test]
async fn a_topic_is_created_once() {
    let cloud = Cloud::start().await;

    let again = cloud.topics.create_topic().set_name(TOPIC).send().await.unwrap_err();

    assert_eq!((code(&again), again.http_status_code()), (Some(Code::AlreadyExists), Some(409)));
}

#[tokio::test]
async fn a_topic_is_read_listed_changed_and_deleted() {
    let cloud = Cloud::start().await;
    assert_eq!(cloud.topics.get_topic().set_topic(TOPIC).send().await.unwrap().name, TOPIC);
    let listed = cloud.topics.list_topics().set_project("projects/p").send().await.unwrap().topics;
    assert_eq!(listed.into_iter().map(|topic| topic.name).collect::<Vec<_>>(), [DEAD, TOPIC]);

    let day = Duration::clamp(86_400, 0);
    let kept = Topic::new().set_name(TOPIC).set_message_retention_duration(day).set_labels([("left", "out")]);
    let mask = FieldMask::default().set_paths(["message_retention_duration"]);
    let kept = cloud.topics.update_topic().set_topic(kept).set_update_mask(mask).send().await.unwrap();
    assert_eq!((kept.message_retention_duration, kept.labels.len()), (Some(day), 0));

    cloud.topics.delete_topic().set_topic(TOPIC).send().await.unwrap();
    let gone = cloud.topics.get_topic().set_topic(TOPIC).send().await.unwrap_err();
    assert_eq!((code(&gone), gone.http_status_code()), (Some(Code::NotFound), Some(404)));
}

#[tokio::test]
async fn a_list_is_paged() {
    let cloud = Cloud::start().await;

    let first = cloud.topics.list_topics().set_project("projects/p").set_page_size(1).send().await.unwrap();
    let token = first.next_page_token.clone();
    let next = cloud.topics.list_topics().set_project("projects/p").set_page_size(1).set_page_token(token);
    let next = next.send().await.unwrap();

    assert_eq!((&*first.topics[0].name, &*next.topics[0].name, &*next.next_page_token), (DEAD, TOPIC, ""));
}

#[tokio::test]
async fn a_subscription_shows_its_defaults() {
    let cloud = Cloud::start().await;

    let made =
        cloud.subscribe(to_jobs().set_retry_policy(RetryPolicy::new()).set_dead_letter_policy(dead_letters(0))).await;

    assert_eq!(made.ack_deadline_seconds, 10);
    assert_eq!(made.message_retention_duration, Some(Duration::clamp(7 * 86_400, 0)));
    assert_eq!(made.expiration_policy.as_ref().unwrap().ttl, Some(Duration::clamp(31 * 86_400, 0)));
    assert_eq!(made.retry_policy.as_ref().unwrap().maximum_backoff, Some(Duration::clamp(600, 0)));
    assert_eq!(made.dead_letter_policy.as_ref().unwrap().max_delivery_attempts, 5);
    let read = cloud.subscriptions.get_subscription().set_subscription(SUBSCRIPTION).send().await.unwrap();
    assert_eq!(read, made);
    let again = cloud.try_subscribe(to_jobs()).await.unwrap_err();
    assert_eq!(code(&again), Some(Code::AlreadyExists));
}

#[tokio::test]
async fn an_update_changes_only_the_masked_fields() {
    let cloud = Cloud::start().await;
    cloud.subscribe(to_jobs().set_ack_deadline_seconds(60)).await;
    let wanted = to_jobs()
        .set_ack_deadline_seconds(600)
        .set_push_config(PushConfig::new().set_push_endpoint("http://127.0.0.1:9/push"))
        .set_dead_letter_policy(dead_letters(7));

    let update = |paths: &[&str]| {
        let mask = FieldMask::default().set_paths(paths.iter().copied());
        cloud.subscriptions.update_subscription().set_subscription(wanted.clone()).set_update_mask(mask).send()
    };
    let updated = update(&["push_config", "dead_letter_policy"]).await.unwrap();

    assert_eq!(updated.ack_deadline_seconds, 60);
    assert_eq!(updated.push_config, wanted.push_config);
    assert_eq!(updated.dead_letter_policy, wanted.dead_letter_policy);
    for refused in [&["topic"][..], &["nonsense"], &[]] {
        let error = update(refused).await.unwrap_err();
        assert!(matches!(code(&error), Some(Code::InvalidArgument)), "{refused:?}: {error}");
    }
}

#[tokio::test]
async fn a_paused_subscription_has_no_endpoint() {
    let cloud = Cloud::start().await;
    cloud.subscribe(to_jobs().set_push_config(PushConfig::new().set_push_endpoint("http://127.0.0.1:9/push"))).await;

    let pause = cloud.subscriptions.modify_push_config().set_subscription(SUBSCRIPTION);
    pause.set_push_config(PushConfig::new()).send().await.unwrap();

    let read = cloud.subscriptions.get_subscription().set_subscription(SUBSCRIPTION).send().await.unwrap();
    assert_eq!(read.push_config.unwrap_or_default().push_endpoint, "");
}

#[tokio::test]
async fn settings_out_of_bounds_are_refused() {
    let cloud = Cloud::start().await;
    let retry = |least, most| {
        RetryPolicy::new().set_minimum_backoff(Duration::clamp(least, 0)).set_maximum_backoff(Duration::clamp(most, 0))
    };
    let bad: Vec<(&str, Subscription)> = vec![
        ("deadline below", to_jobs().set_ack_deadline_seconds(9)),
        ("deadline above", to_jobs().set_ack_deadline_seconds(601)),
        ("retention below", to_jobs().set_message_retention_duration(Duration::clamp(599, 0))),
        ("retention above", to_jobs().set_message_retention_duration(Duration::clamp(31 * 86_400 + 1, 0))),
        ("attempts below", to_jobs().set_dead_letter_policy(dead_letters(4))),
        ("attempts above", to_jobs().set_dead_letter_policy(dead_letters(101))),
        ("backoff above", to_jobs().set_retry_policy(retry(10, 601))),
        ("backoff crossed", to_jobs().set_retry_policy(retry(20, 10))),
        ("endpoint", to_jobs().set_push_config(PushConfig::new().set_push_endpoint("ftp://example.com"))),
        ("name", to_jobs().set_name("projects/p/subscriptions/goog-x")),
    ];
    for (what, settings) in bad {
        let error = cloud.try_subscribe(settings).await.expect_err(what);
        assert_eq!((code(&error), error.http_status_code()), (Some(Code::InvalidArgument), Some(400)), "{what}");
    }
    for settings in [to_jobs().set_topic("projects/p/topics/none"), {
        to_jobs().set_dead_letter_policy(dead_letters(5).set_dead_letter_topic("projects/p/topics/none"))
    }] {
        assert_eq!(code(&cloud.try_subscribe(settings).await.unwrap_err()), Some(Code::NotFound));
    }
}
