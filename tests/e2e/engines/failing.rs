//! Pictures that are withheld or unusable.

use serde_json::json;
use wiremock::ResponseTemplate;

use super::{
    dead_letters,
    vertex::{Vertex, answer},
};

fn refused(message: &str) -> ResponseTemplate {
    let error = json!({ "error": { "code": 400, "status": "INVALID_ARGUMENT", "message": message } });
    ResponseTemplate::new(400).set_body_json(error)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withheld_picture_fails_at_once_and_is_free() {
    let vertex = Vertex::start().await;
    vertex.next([
        answer(&json!([]), "IMAGE_SAFETY"),
        answer(&json!([{ "text": "I cannot draw that." }]), "STOP"),
        ResponseTemplate::new(200).set_body_json(json!({ "promptFeedback": { "blockReason": "PROHIBITED_CONTENT" } })),
        refused("The prompt could not be submitted. Support codes: 90789179"),
    ]);
    let system = vertex.system(&[]).await;
    for n in 1..=4 {
        let job = system.finished("ada", &system.submit("ada", "a fox").await).await;
        assert_eq!(
            (&job["status"], &job["error"]["code"]),
            (&"failed".into(), &"content_filtered".into()),
            "{n}: {job}"
        );
        assert_eq!((&job["attempt"], vertex.drawings().await.len()), (&1.into(), n), "never asked again");
    }
    assert_eq!(system.credits("ada").await, (1000, 0, 0, 1000));
    assert_eq!(dead_letters(&system), 0);
    system.finish().await;
}

/// Declared as a picture.
fn corrupt() -> ResponseTemplate {
    let data =
        json!([{ "inlineData": { "mimeType": "image/png", "data": "iVBORw0KGgoAAAANSUhEUgAABAAAAAQACAIAAADwf7zU" } }]);
    answer(&data, "STOP")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_picture_is_retried_twice() {
    let vertex = Vertex::start().await;
    vertex.next([corrupt(), corrupt()]);
    let system = vertex.system(&[]).await;
    let job = system.finished("ada", &system.submit("ada", "a fox").await).await;
    assert_eq!((&job["status"], &job["attempt"]), (&"completed".into(), &3.into()), "{job}");
    assert_eq!(system.credits("ada").await, (999, 0, 1, 1000));

    vertex.next([corrupt(), corrupt(), corrupt()]);
    let job = system.finished("ada", &system.submit("ada", "a cat").await).await;
    assert_eq!((&job["status"], &job["error"]["code"]), (&"failed".into(), &"engine_error".into()), "{job}");
    assert_eq!((&job["attempt"], vertex.drawings().await.len()), (&3.into(), 6));
    assert_eq!(system.credits("ada").await, (999, 0, 1, 1000));
    assert_eq!(dead_letters(&system), 0);
    system.finish().await;
}
