//! The log: one line per event for operators, without the content of requests.

use mediaforge::error::ErrorKind;
use serde_json::json;

use crate::support::{capture, world};

#[tokio::test]
async fn a_failure_is_logged_once_with_its_request_and_without_its_prompt() {
    let world = world();
    capture::lines(); // discard the lines of the start
    let headers = [
        ("x-request-id", "order-66"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("idempotency-key", "private-key"),
    ];
    let body = json!({ "prompt": "my private diary" });
    assert_eq!(world.generate_with(&body, &headers).await.status, 202);
    let accepted = capture::lines();
    world.faults.store.fail(Some(ErrorKind::Broken));
    world.generate_with(&body, &headers).await.problem(503, "backend_broken");
    let failed = capture::lines();
    world.faults.store.panic();
    world.get_with("/credits", &headers).await.problem(500, "internal");
    let panicked = capture::lines();
    let count = |lines: &[String], text: &str| lines.iter().filter(|line| line.contains(text)).count();
    for lines in [&accepted, &failed, &panicked] {
        assert_eq!(count(lines, "private"), 0, "{lines:#?}");
        assert_eq!(count(lines, "order-66"), lines.len(), "{lines:#?}");
        assert_eq!(count(lines, "4bf92f3577b34da6a3ce929d0e0e4736"), lines.len(), "{lines:#?}");
    }
    assert_eq!((accepted.len(), count(&accepted, "request answered status=202")), (2, 1), "{accepted:#?}");
    assert_eq!((count(&failed, "op=\"store.insert\""), count(&failed, "secret.db")), (1, 1), "{failed:#?}");
    assert_eq!(count(&failed, "request failed status=503"), 1, "{failed:#?}");
    assert_eq!((count(&panicked, "a handler panicked"), panicked.len()), (1, 2), "{panicked:#?}");
}
