//! The one `Listen` stream: adds and removes targets as watchers come and go, and opens again when it breaks.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{Stream, stream};
use gcloud_sdk::{
    google::firestore::v1::{
        Document, ListenRequest, ListenResponse, Target, TargetChange, listen_request,
        listen_response::ResponseType,
        structured_query::{Direction, field_filter::Operator},
        target::{DocumentsTarget, QueryTarget, TargetType, query_target::QueryType},
        target_change::TargetChangeType,
    },
    tonic::{Code, Status, Streaming},
};
use tokio::sync::mpsc;

use super::{
    dispatcher::{DispatchState, Key},
    inbox::Change,
};
use crate::{
    domain::{Timestamp, kind::JobKind},
    error::{BackendError, ErrorKind},
    store::{
        firestore::{
            client::REQUEST_TIMEOUT,
            documents::{CHANGED_AT, read_job, updated},
            fields::{domain_time, moment, string},
            query::{filter, ordered, query},
            retry::{failed, jittered},
        },
        watch::OP,
    },
};

/// How long the stream stays open without watchers, so that a client that watches one job after another reuses it.
const KEEP_IDLE: Duration = Duration::from_secs(30);
/// Requests that may wait to be sent.
const MAX_REQUESTS: usize = 32;

/// Listens while there are watchers, and never returns.
pub(super) async fn listen(shared: Arc<DispatchState>) {
    let mut failures = 0;
    loop {
        if shared.is_idle() {
            shared.wake.notified().await;
            continue;
        }
        let mut stream = ListenStream::new(&shared);
        let ended = stream.run().await;
        stream.report_complete();
        if stream.has_response {
            failures = 0;
        }
        if let Err(error) = ended {
            failures += 1;
            if !error.is_transient() {
                shared.fail(None, &error);
            }
            tracing::warn!(%error, failures, "the stream of changes broke; opening it again");
            tokio::time::sleep(jittered(&**shared.client.random(), failures)).await;
        }
    }
}

/// One stream, from open to end.
struct ListenStream<'a> {
    shared: &'a Arc<DispatchState>,
    /// The key of each target id.
    keys: HashMap<i32, Key>,
    targets: HashMap<Key, Vec<i32>>,
    /// The targets whose initial state has arrived completely.
    current: HashSet<i32>,
    last_target: i32,
    /// Everything up to this moment of the database's time has arrived.
    complete: Option<Timestamp>,
    /// The value of `complete` that was reported last.
    reported: Option<Timestamp>,
    outbox: VecDeque<ListenRequest>,
    has_response: bool,
}

impl<'a> ListenStream<'a> {
    fn new(shared: &'a Arc<DispatchState>) -> Self {
        Self {
            shared,
            keys: HashMap::new(),
            targets: HashMap::new(),
            current: HashSet::new(),
            last_target: 0,
            complete: None,
            reported: None,
            outbox: VecDeque::new(),
            has_response: false,
        }
    }

    /// Listens until there have been no watchers for a while.
    async fn run(&mut self) -> Result<(), BackendError> {
        for (key, since) in self.shared.all() {
            self.add(&key, since);
        }
        let (requests, queue) = mpsc::channel(MAX_REQUESTS);
        // The server answers only after a first request.
        while let Ok(permit) = requests.try_reserve()
            && let Some(request) = self.outbox.pop_front()
        {
            permit.send(request);
        }
        let mut responses = self.open(queue).await?;
        loop {
            tokio::select! {
                permit = requests.reserve(), if !self.outbox.is_empty() => {
                    let (Ok(permit), Some(request)) = (permit, self.outbox.pop_front()) else {
                        return Err(failed(OP, &Status::unavailable("the stream does not accept requests")));
                    };
                    permit.send(request);
                }
                response = responses.message() => match response {
                    Ok(Some(response)) => self.on_response(response),
                    Ok(None) => return Err(failed(OP, &Status::unavailable("the server has ended the stream"))),
                    Err(status) => return Err(stream_error(&status)),
                },
                () = self.shared.wake.notified() => self.update_targets(),
                () = tokio::time::sleep(KEEP_IDLE), if self.targets.is_empty() => return Ok(()),
            }
        }
    }

    async fn open(&self, queue: mpsc::Receiver<ListenRequest>) -> Result<Streaming<ListenResponse>, BackendError> {
        let mut client = self.shared.client.client(OP).await?;
        let opened = tokio::time::timeout(REQUEST_TIMEOUT, client.listen(stream_of(queue))).await;
        let opened =
            opened.unwrap_or_else(|_| Err(Status::deadline_exceeded(format!("no answer within {REQUEST_TIMEOUT:?}"))));
        Ok(opened.map_err(|status| stream_error(&status))?.into_inner())
    }

    /// Adds and removes targets for the watchers that came and went.
    fn update_targets(&mut self) {
        for (key, since) in self.shared.changed() {
            match since {
                Some(since) if !self.targets.contains_key(&key) => self.add(&key, since),
                None => self.remove(&key),
                Some(_) => {}
            }
        }
    }

    fn add(&mut self, key: &Key, since: Timestamp) {
        let types = match key {
            Key::Job(id) => {
                vec![TargetType::Documents(DocumentsTarget { documents: vec![self.shared.client.job(id)] })]
            }
            Key::User(user) => JobKind::ALL.map(|kind| self.changed_jobs(kind, user.as_str(), since)).into(),
        };
        for target_type in types {
            self.last_target += 1;
            self.keys.insert(self.last_target, key.clone());
            self.targets.entry(key.clone()).or_default().push(self.last_target);
            let target = Target { target_id: self.last_target, target_type: Some(target_type), ..Target::default() };
            self.send(listen_request::TargetChange::AddTarget(target));
        }
    }

    /// The user's jobs of a kind that were written after a moment.
    fn changed_jobs(&self, kind: JobKind, user: &str, since: Timestamp) -> TargetType {
        let own = filter("userId", Operator::Equal, string(user));
        let later = filter(CHANGED_AT, Operator::GreaterThan, moment(since));
        let query = ordered(query(kind.collection(), vec![own, later]), &[CHANGED_AT], Direction::Ascending);
        let query_type = Some(QueryType::StructuredQuery(query));
        TargetType::Query(QueryTarget { parent: self.shared.client.documents(), query_type })
    }

    fn remove(&mut self, key: &Key) {
        for id in self.targets.remove(key).unwrap_or_default() {
            self.keys.remove(&id);
            self.current.remove(&id);
            self.send(listen_request::TargetChange::RemoveTarget(id));
        }
    }

    fn send(&mut self, change: listen_request::TargetChange) {
        let database = self.shared.client.database();
        self.outbox.push_back(ListenRequest { database, target_change: Some(change), ..ListenRequest::default() });
    }

    fn on_response(&mut self, response: ListenResponse) {
        self.has_response = true;
        match response.response_type {
            Some(ResponseType::TargetChange(change)) => self.on_target_change(&change),
            Some(ResponseType::DocumentChange(change)) => {
                if let Some(document) = change.document {
                    self.dispatch(document, &change.target_ids);
                }
            }
            // The server does not know the state of the document any longer: a new target makes it send that state.
            Some(ResponseType::DocumentRemove(removed)) => {
                let keys: Vec<_> =
                    removed.removed_target_ids.iter().filter_map(|id| self.keys.get(id)).cloned().collect();
                for key in keys {
                    self.remove(&key);
                    if let Some(since) = self.shared.since(&key) {
                        self.add(&key, since);
                    }
                }
            }
            // Watchers get no event for a deleted job. A filter concerns resumed targets, and this stream resumes none.
            Some(ResponseType::DocumentDelete(_) | ResponseType::Filter(_)) | None => {}
        }
    }

    fn dispatch(&self, document: Document, targets: &[i32]) {
        let keys: HashSet<_> = targets.iter().filter_map(|id| self.keys.get(id)).collect();
        if keys.is_empty() {
            return;
        }
        let at = updated(&document);
        match read_job(OP, document) {
            Ok(job) => {
                let change = Arc::new(Change { job, at });
                for key in keys {
                    self.shared.dispatch(key, &change);
                }
            }
            Err(error) => tracing::error!(%error, "a watched job cannot be read"),
        }
    }

    fn on_target_change(&mut self, change: &TargetChange) {
        let ids = &change.target_ids;
        match change.target_change_type() {
            TargetChangeType::Current => self.current.extend(ids),
            TargetChangeType::Reset => self.current.retain(|id| !ids.contains(id)),
            TargetChangeType::Remove => self.on_removed(change),
            TargetChangeType::Add | TargetChangeType::NoChange => {}
        }
        if let Some(at) = change.read_time.as_ref().and_then(domain_time).filter(|_| ids.is_empty()) {
            self.complete = Some(at);
            if DispatchState::is_completion_due(self.reported, at) {
                self.report_complete();
            }
        }
    }

    /// The server has removed targets: on our request, unless it gives a cause.
    fn on_removed(&mut self, change: &TargetChange) {
        let Some(cause) = &change.cause else { return };
        let error = failed(OP, &Status::new(cause.code.into(), cause.message.clone()));
        let keys: HashSet<_> = change.target_ids.iter().filter_map(|id| self.keys.get(id)).cloned().collect();
        for key in keys {
            tracing::warn!(?key, %error, "the server has ended a target of the stream");
            self.remove(&key);
            self.shared.fail(Some(&key), &error);
        }
    }

    /// Reports to which moment the watchers have received everything.
    fn report_complete(&mut self) {
        let Some(upto) = self.complete else { return };
        self.reported = Some(upto);
        let is_current = |ids: &Vec<i32>| ids.iter().all(|id| self.current.contains(id));
        let keys = self.targets.iter().filter(|(_, ids)| is_current(ids)).map(|(key, _)| key.clone());
        self.shared.complete(keys, upto);
    }
}

/// Why the stream ended. `Unauthenticated` is transient: the token is as old as the stream and has expired, and the next
/// stream brings a new one.
fn stream_error(status: &Status) -> BackendError {
    let mut error = failed(OP, status);
    if status.code() == Code::Unauthenticated {
        error.kind = ErrorKind::Unavailable;
    }
    error
}

fn stream_of(queue: mpsc::Receiver<ListenRequest>) -> impl Stream<Item = ListenRequest> + Send + 'static {
    stream::unfold(queue, |mut queue| async move { queue.recv().await.map(|request| (request, queue)) })
}
