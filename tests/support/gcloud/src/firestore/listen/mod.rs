//! Streams of changes. A stream has targets. Each response brings the client from the state it knows to the present state,
//! so states in between may be skipped.

mod target;

use std::collections::{BTreeMap, BTreeSet};

use futures::Stream;
use gcloud_sdk::google::{
    firestore::v1::{
        DocumentChange, DocumentDelete, DocumentRemove, ListenRequest, ListenResponse, Target as TargetRequest,
        TargetChange, listen_request, listen_response::ResponseType, target_change::TargetChangeType,
    },
    rpc,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{
    Firestore,
    moment::Moment,
    name::{self, Name},
    refusal::{Outcome, Refusal},
};
use target::{Change, Target};

/// Responses that are buffered for a slow client.
const WAITING: usize = 64;

type Sender = mpsc::Sender<Result<ListenResponse, Status>>;

/// Opens a stream. It ends with its client, and at a reset.
pub fn open(
    firestore: Firestore,
    requests: Streaming<ListenRequest>,
) -> impl Stream<Item = Result<ListenResponse, Status>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(WAITING);
    let mut resets = firestore.shared.resets.subscribe();
    let listener = Listener {
        committed: firestore.shared.committed.subscribe(),
        firestore,
        sender: sender.clone(),
        targets: BTreeMap::new(),
        at: Moment::default(),
    };
    tokio::spawn(async move {
        let refused = tokio::select! {
            biased;
            _ = resets.changed() => Status::unavailable("The listener was reset."),
            () = sender.closed() => return,
            outcome = listener.run(requests) => match outcome {
                Ok(()) => return,
                Err(refusal) => refusal.into(),
            },
        };
        // If this fails, the client is gone.
        let _ = sender.send(Err(refused)).await;
    });
    ReceiverStream::new(receiver)
}

struct Listener {
    firestore: Firestore,
    committed: watch::Receiver<Moment>,
    sender: Sender,
    targets: BTreeMap<i32, Target>,
    /// The time up to which the client has received everything.
    at: Moment,
}

/// Responses to send now.
#[derive(Default)]
struct Batch {
    changes: Vec<(i32, Change)>,
    /// The targets that are current now, and whether each ends then.
    current: Vec<(i32, bool)>,
    at: Moment,
}

impl Listener {
    async fn run(mut self, mut requests: Streaming<ListenRequest>) -> Outcome<()> {
        loop {
            tokio::select! {
                request = requests.message() => match request {
                    Ok(Some(request)) => self.serve(request).await?,
                    Ok(None) | Err(_) => return Ok(()),
                },
                changed = self.committed.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    self.tell_news().await;
                }
            }
        }
    }

    async fn serve(&mut self, request: ListenRequest) -> Outcome<()> {
        name::check_database(&request.database)?;
        match request.target_change {
            Some(listen_request::TargetChange::AddTarget(target)) => self.add(&request.database, target).await,
            Some(listen_request::TargetChange::RemoveTarget(id)) => {
                let known = self.targets.remove(&id);
                known.ok_or_else(|| Refusal::new(Code::NotFound, format!("Target id not found: {id}")))?;
                self.tell(change(TargetChangeType::Remove, id)).await;
                Ok(())
            }
            None => Err(Refusal::invalid("A request neither adds nor removes a target.")),
        }
    }

    async fn add(&mut self, database: &str, request: TargetRequest) -> Outcome<()> {
        let id = match request.target_id {
            0 => self.targets.last_key_value().map_or(0, |(last, _)| *last) + 1,
            id if id < 0 || self.targets.contains_key(&id) => {
                return Err(Refusal::invalid(format!("Target id {id} is negative or in use.")));
            }
            id => id,
        };
        self.tell(change(TargetChangeType::Add, id)).await;
        let target = Target::open(&mut self.firestore.state(), database, request);
        let (target, is_reset) = match target {
            Ok(target) => target,
            Err(Refusal { code, message }) => {
                let cause = rpc::Status { code: code.into(), message, details: Vec::new() };
                self.tell(TargetChange { cause: Some(cause), ..change(TargetChangeType::Remove, id) }).await;
                return Ok(());
            }
        };
        if is_reset {
            self.tell(change(TargetChangeType::Reset, id)).await;
        }
        self.targets.insert(id, target);
        self.tell_news().await;
        Ok(())
    }

    /// Sends the changes since the last time.
    async fn tell_news(&mut self) {
        let Batch { changes, current, at } = self.news();
        let has_news = !changes.is_empty() || !current.is_empty();
        for (id, change) in changes {
            self.send(response(id, change, at)).await;
        }
        for &(id, is_done) in &current {
            self.tell(TargetChange {
                resume_token: at.token(),
                read_time: Some(at.timestamp()),
                ..change(TargetChangeType::Current, id)
            })
            .await;
            if is_done {
                self.targets.remove(&id);
                self.tell(change(TargetChangeType::Remove, id)).await;
            }
        }
        if has_news {
            // Without a target id it applies to all targets: everything up to this time has been sent.
            let all =
                TargetChange { resume_token: at.token(), read_time: Some(at.timestamp()), ..TargetChange::default() };
            self.tell(all).await;
        }
    }

    /// Brings all the targets to the same time.
    fn news(&mut self) -> Batch {
        let mut state = self.firestore.state();
        let mut batch = Batch { at: state.read_time(), ..Batch::default() };
        let is_known = self.at >= state.documents.horizon();
        let changed = is_known.then(|| state.documents.changed(self.at).cloned().collect::<BTreeSet<Name>>());
        for (&id, target) in &mut self.targets {
            if target.is_fresh() {
                batch.current.push((id, target.once));
            }
            let news = target.advance(&state.documents, batch.at, changed.as_ref());
            batch.changes.extend(news.into_iter().map(|change| (id, change)));
        }
        state.counts.reads += batch.changes.iter().filter(|(_, change)| change.is_read()).count() as u64;
        self.at = batch.at;
        batch
    }

    async fn tell(&self, change: TargetChange) {
        self.send(ResponseType::TargetChange(change)).await;
    }

    async fn send(&self, response: ResponseType) {
        // If the client is gone, this task is about to end.
        let _ = self.sender.send(Ok(ListenResponse { response_type: Some(response) })).await;
    }
}

fn change(kind: TargetChangeType, id: i32) -> TargetChange {
    TargetChange { target_change_type: kind.into(), target_ids: vec![id], ..TargetChange::default() }
}

fn response(id: i32, change: Change, at: Moment) -> ResponseType {
    let (removed_target_ids, read_time) = (vec![id], Some(at.timestamp()));
    match change {
        Change::Is(document) => ResponseType::DocumentChange(DocumentChange {
            document: Some(document),
            target_ids: vec![id],
            removed_target_ids: Vec::new(),
        }),
        Change::Left(name) => {
            let document = name.as_str().to_owned();
            ResponseType::DocumentRemove(DocumentRemove { document, removed_target_ids, read_time })
        }
        Change::Deleted(name) => {
            let document = name.as_str().to_owned();
            ResponseType::DocumentDelete(DocumentDelete { document, removed_target_ids, read_time })
        }
    }
}
