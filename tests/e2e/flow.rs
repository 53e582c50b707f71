//! A prompt becomes a picture: the same test on one process, on two, and on Google Cloud.

use image::GenericImageView as _;
use serde_json::json;

use crate::support::{System, Topology, answer, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_becomes_a_picture_in_one_process() {
    a_prompt_becomes_a_picture(Topology::OneProcess).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_becomes_a_picture_across_two_processes() {
    a_prompt_becomes_a_picture(Topology::TwoProcesses).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_becomes_a_picture_on_google_cloud() {
    a_prompt_becomes_a_picture(Topology::GoogleCloud).await;
}

async fn a_prompt_becomes_a_picture(topology: Topology) {
    let system = System::start(topology, &[("MEDIAFORGE_ENGINE__PREVIEW__LATENCY", "300ms")]).await;
    let granted = system.credits("ada").await.0;
    let body = json!({
        "userId": "ada", "prompt": "a lighthouse at dawn", "styleId": "watercolor", "styleName": "Watercolor",
        "width": 640, "height": 400, "count": 2, "seed": 7
    });
    let submit = system.client.post(system.url("/generate")).header("idempotency-key", "\"first\"").json(&body);
    let submitted = system.signed("ada", submit).send().await.expect("an answer");
    assert_eq!(submitted.status(), 202);
    let location = submitted.headers()["location"].to_str().expect("text").to_owned();
    let accepted: serde_json::Value = submitted.json().await.expect("JSON");
    let id = text(&accepted, "illustrationId");
    assert_eq!(accepted, json!({ "success": true, "illustrationId": id, "status": "queued" }));
    assert_eq!(location, format!("/illustrations/{id}"));

    // Events: a snapshot first, increasing versions, the final state last, then the end of the stream.
    let events = system.all_events(&format!("{location}/events?userId=ada"), None).await;
    let versions: Vec<u64> = events.iter().map(|event| event.id.parse().expect("a version")).collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    let names: Vec<_> = events.iter().map(|event| event.event.as_str()).collect();
    assert_eq!(names.last(), Some(&"job.completed"), "{names:?}");
    assert!(names.contains(&"job.processing"), "{names:?}");
    assert_eq!(names.iter().filter(|name| **name == "job.completed").count(), 1, "{names:?}");

    let job = system.get(&format!("{location}?userId=ada")).await;
    assert_eq!(job, events.last().expect("events").data);
    assert_eq!((job["status"].as_str(), job["attempt"].as_u64()), (Some("completed"), Some(1)));
    assert_eq!((job["modelUsed"].as_str(), job["seed"].as_u64()), (Some("preview"), Some(7)));
    assert_eq!(job["creditsUsed"], 2);
    assert!(job["finalPrompt"].as_str().expect("text").starts_with("a lighthouse at dawn, "));
    for absent in ["error", "failedAt", "teamId"] {
        assert!(job.get(absent).is_none(), "{absent} is absent, not null");
    }
    assert_eq!(system.credits("ada").await, (granted - 2, 0, 2, granted));

    // The pictures have exactly the requested size.
    let urls: Vec<_> =
        job["imageUrls"].as_array().expect("urls").iter().map(|url| url.as_str().expect("text")).collect();
    assert_eq!((urls.len(), Some(urls[0])), (2, job["imageUrl"].as_str()));
    let mut pictures = Vec::new();
    for url in urls {
        let answer = system.client.get(url).send().await.expect("an answer");
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (200, &"image/png".parse().expect("a value"))
        );
        let bytes = answer.bytes().await.expect("bytes");
        assert_eq!(image::load_from_memory(&bytes).expect("a picture").dimensions(), (640, 400));
        pictures.push(bytes);
    }
    assert_ne!(pictures[0], pictures[1], "the two pictures differ");
    let thumbnail = system.client.get(text(&job, "thumbnailUrl")).send().await.expect("an answer");
    assert_eq!(thumbnail.headers()["content-type"], "image/webp");
    let thumbnail = image::load_from_memory(&thumbnail.bytes().await.expect("bytes")).expect("a thumbnail");
    assert_eq!(thumbnail.dimensions(), (384, 240));

    // The same request with the same key finds the same job; a different request is refused.
    let again = system.client.post(system.url("/generate")).header("idempotency-key", "first").json(&body);
    let again = system.signed("ada", again).send().await.expect("an answer");
    assert_eq!(
        (again.status().as_u16(), &again.headers()["idempotency-replayed"]),
        (202, &"true".parse().expect("a value"))
    );
    assert_eq!(again.json::<serde_json::Value>().await.expect("JSON"), accepted);
    let mut other = body.clone();
    other["count"] = json!(1);
    let other = system.client.post(system.url("/generate")).header("idempotency-key", "first").json(&other);
    let (status, problem) = answer(system.signed("ada", other)).await;
    assert_eq!((status, problem["success"].as_bool()), (422, Some(false)));
    assert_eq!(system.credits("ada").await, (granted - 2, 0, 2, granted));

    // A client that reconnects later gets the final state. Another user gets nothing.
    let late = system.all_events(&format!("{location}/events?userId=ada"), Some("1")).await;
    assert_eq!(late.last().map(|event| event.event.clone()).as_deref(), Some("job.completed"));
    let get = |user: &str| system.signed(user, system.client.get(system.url(&format!("{location}?userId={user}"))));
    let delete =
        |user: &str| system.signed(user, system.client.delete(system.url(&format!("{location}?userId={user}"))));
    assert_eq!(answer(get("eve")).await.0, 404);

    // The job is listed, then deleted with its pictures.
    let list = system.get("/illustrations?userId=ada&status=completed&limit=1").await;
    assert_eq!((list["data"][0]["illustrationId"].as_str(), list["hasMore"].as_bool()), (Some(&*id), Some(false)));
    let picture = text(&job, "imageUrl");
    assert_eq!(answer(delete("eve")).await.0, 404);
    assert_eq!(answer(delete("ada")).await.0, 204);
    assert_eq!(system.client.get(&picture).send().await.expect("an answer").status(), 404);
    assert_eq!(answer(get("ada")).await.0, 404);
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_all_jobs_of_its_user_and_no_others() {
    for topology in [Topology::TwoProcesses, Topology::GoogleCloud] {
        check_stream_of_a_user(topology).await;
    }
}

async fn check_stream_of_a_user(topology: Topology) {
    use futures::StreamExt as _;
    let system = System::start(topology, &[]).await;
    let mut events = system.events("/events?userId=ada", None).await;
    system.submit("eve", "a cat").await;
    let mut waiting = std::collections::BTreeSet::new();
    for n in 0..5 {
        waiting.insert(system.submit("ada", &format!("tree number {n}")).await);
    }
    while !waiting.is_empty() {
        let event = tokio::time::timeout(crate::support::TIMEOUT, events.next()).await.expect("in time").expect("more");
        assert_eq!(event.data["userId"], "ada");
        if event.event == "job.completed" {
            waiting.remove(&text(&event.data, "illustrationId"));
        }
    }
    drop(events);
    let ids: Vec<_> = system.get("/illustrations?userId=eve").await["data"].as_array().expect("a list").clone();
    assert_eq!(ids.len(), 1);
    system.finished("eve", ids[0]["illustrationId"].as_str().expect("an id")).await;
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_costs_nothing_whether_it_waits_or_runs() {
    for topology in Topology::EVERY {
        let slow = [("MEDIAFORGE_ENGINE__PREVIEW__LATENCY", "30s"), ("MEDIAFORGE_WORKER__SLOTS", "1")];
        let system = System::start(topology, &slow).await;
        let running = system.submit("ada", "a slow cat").await;
        system.until("ada", &running, &["processing"]).await;
        let waiting = system.submit("ada", "a patient cat").await;
        assert_eq!(system.credits("ada").await.1, 2);
        for id in [&waiting, &running] {
            let (status, job) = system.post(&format!("/illustrations/{id}/cancel?userId=ada"), &json!({})).await;
            assert!(matches!(status, 200 | 202), "{status}: {job}");
        }
        let began = tokio::time::Instant::now();
        for id in [&waiting, &running] {
            assert_eq!(system.finished("ada", id).await["status"], "cancelled");
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(10));
        let (available, held, spent, granted) = system.credits("ada").await;
        assert_eq!((available, held, spent), (granted, 0, 0));
        let (status, job) = system.post(&format!("/illustrations/{running}/cancel?userId=ada"), &json!({})).await;
        assert_eq!((status, job["status"].as_str()), (200, Some("cancelled")), "a second cancel changes nothing");
        system.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credits_nothing_is_written() {
    for topology in [Topology::OneProcess, Topology::GoogleCloud] {
        nothing_is_written_without_credits(topology).await;
    }
}

async fn nothing_is_written_without_credits(topology: Topology) {
    let system = System::start(topology, &[("MEDIAFORGE_CREDITS__STARTING_GRANT", "3")]).await;
    let body = json!({ "userId": "poor", "prompt": "a castle", "width": 256, "height": 256, "count": 4 });
    let (status, problem) = system.post("/generate", &body).await;
    assert_eq!((status, problem["code"].as_str()), (402, Some("insufficient_credits")), "{problem}");
    assert_eq!(system.credits("poor").await, (3, 0, 0, 3));
    assert_eq!(system.get("/illustrations?userId=poor").await["data"], json!([]));

    // Fifty submits at once with credits for three: three are accepted, and the balance never goes below zero.
    let one = json!({ "userId": "poor", "prompt": "a castle", "width": 256, "height": 256 });
    let answers = futures::future::join_all((0..50).map(|_| system.post("/generate", &one))).await;
    let accepted = answers.iter().filter(|(status, _)| *status == 202).count();
    let refused = answers.iter().filter(|(status, _)| *status == 402).count();
    assert_eq!((accepted, refused), (3, 47));
    for (_, answer) in answers.iter().filter(|(status, _)| *status == 202) {
        assert_eq!(system.finished("poor", &text(answer, "illustrationId")).await["status"], "completed");
    }
    assert_eq!(system.credits("poor").await, (0, 0, 3, 3));
    system.finish().await;
}
