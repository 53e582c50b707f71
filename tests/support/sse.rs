//! Reads server-sent events.

use eventsource_stream::{Event, Eventsource as _};
use futures::{Stream, StreamExt as _};
use serde_json::Value;

/// An event with its data as JSON.
#[derive(Debug, Clone)]
pub struct Seen {
    pub event: String,
    pub id: String,
    pub data: Value,
}

/// The events that a request asks for, until the stream ends.
pub async fn open(
    request: reqwest::RequestBuilder,
    last_event_id: Option<&str>,
) -> impl Stream<Item = Seen> + Unpin + use<> {
    let mut request = request.header("accept", "text/event-stream");
    if let Some(id) = last_event_id {
        request = request.header("last-event-id", id);
    }
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{}", answer.url());
    assert!(answer.headers()["content-type"].to_str().expect("text").starts_with("text/event-stream"));
    let events = answer.bytes_stream().eventsource();
    // A broken connection ends the stream, as it does for a browser; a frame without data is no event.
    let whole = events.take_while(|event| std::future::ready(event.is_ok()));
    Box::pin(whole.filter_map(|event| async {
        let Event { event, data, id, .. } = event.ok()?;
        let data = serde_json::from_str(&data).ok()?;
        Some(Seen { event, id, data })
    }))
}
