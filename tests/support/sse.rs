//! Reads server-sent events.

use eventsource_stream::Eventsource as _;
use futures::{Stream, StreamExt as _};
use serde_json::Value;

/// An event with its data as JSON.
#[derive(Debug, Clone)]
pub struct SseEvent {
    pub event: String,
    pub id: String,
    pub data: Value,
}

/// Sends the request and returns the events until the stream ends.
pub async fn open(
    request: reqwest::RequestBuilder,
    last_event_id: Option<&str>,
) -> impl Stream<Item = SseEvent> + Unpin + use<> {
    let mut request = request.header("accept", "text/event-stream");
    if let Some(id) = last_event_id {
        request = request.header("last-event-id", id);
    }
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{}", answer.url());
    assert!(answer.headers()["content-type"].to_str().expect("text").starts_with("text/event-stream"));
    let events = answer.bytes_stream().eventsource();
    // A broken connection ends the stream, as in a browser. Frames without data are not events.
    let whole = events.take_while(|event| std::future::ready(event.is_ok()));
    Box::pin(whole.filter_map(|event| async {
        let eventsource_stream::Event { event, data, id, .. } = event.ok()?;
        let data = serde_json::from_str(&data).ok()?;
        Some(SseEvent { event, id, data })
    }))
}
