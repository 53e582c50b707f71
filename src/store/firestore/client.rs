//! The connection to the database, opened on first use, and the calls over it. Every call has a time limit.

use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    sync::Arc,
    time::Duration,
};

use firestore::{FirestoreDb, FirestoreDbOptions};
use gcloud_sdk::{
    GoogleAuthMiddleware,
    google::firestore::v1::{
        BatchGetDocumentsRequest, CommitRequest, Document, RunQueryRequest, StructuredQuery, Write,
        batch_get_documents_response::Result as Found, firestore_client::FirestoreClient as GrpcClient,
        run_query_request::QueryType,
    },
    tonic::Status,
};
use tokio::sync::OnceCell;

use super::{
    fields,
    retry::{self, AttemptError, Retries},
};
use crate::{
    config::FirestoreConfig,
    domain::{Timestamp, clock::Random},
    error::{BackendError, ErrorKind},
    google,
};

/// Firestore's endpoint, unless the configuration names another.
const GOOGLE: &str = "https://firestore.googleapis.com";
/// The time limit of one request, and of connecting.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);

pub(super) type Client = GrpcClient<GoogleAuthMiddleware>;

/// One database.
pub(super) struct FirestoreClient {
    project: String,
    config: FirestoreConfig,
    random: Arc<dyn Random>,
    db: OnceCell<FirestoreDb>,
}

/// The documents of a query, and the time of which they are.
pub(super) struct QueryResult {
    pub documents: Vec<Document>,
    pub at: Option<Timestamp>,
}

impl FirestoreClient {
    pub(super) fn new(project: &str, config: &FirestoreConfig, random: Arc<dyn Random>) -> Self {
        Self { project: project.to_owned(), config: config.clone(), random, db: OnceCell::new() }
    }

    pub(super) fn database(&self) -> String {
        format!("projects/{}/databases/{}", self.project, self.config.database)
    }

    /// The prefix of every document's name: the parent of the collections.
    pub(super) fn documents(&self) -> String {
        format!("{}/documents", self.database())
    }

    /// The full name of a document.
    pub(super) fn name(&self, collection: &str, id: &str) -> String {
        format!("{}/{collection}/{id}", self.documents())
    }

    pub(super) fn random(&self) -> &Arc<dyn Random> {
        &self.random
    }

    pub(super) fn retries(&self) -> Retries {
        Retries::for_write(&self.random)
    }

    async fn db(&self, op: &'static str) -> Result<&FirestoreDb, BackendError> {
        self.db.get_or_try_init(|| self.connect(op)).await
    }

    async fn connect(&self, op: &'static str) -> Result<FirestoreDb, BackendError> {
        let fail = |kind, why: String| BackendError::new(kind, op).because(why);
        if self.project.is_empty() {
            return Err(fail(ErrorKind::Broken, "gcp.project is not set".to_owned()));
        }
        let endpoint = self.config.endpoint.as_ref();
        let options = FirestoreDbOptions::new(self.project.clone())
            .with_database_id(self.config.database.clone())
            .with_firebase_api_url(endpoint.map_or(GOOGLE, google::base).to_owned())
            .with_max_retries(0)
            .with_request_timeout(REQUEST_TIMEOUT);
        let connecting = FirestoreDb::with_options_auth(options, google::credentials(endpoint)?);
        match tokio::time::timeout(REQUEST_TIMEOUT, connecting).await {
            Ok(Ok(db)) => Ok(db),
            Ok(Err(error)) => Err(fail(ErrorKind::Unavailable, format!("cannot connect: {error}"))),
            Err(_) => Err(fail(ErrorKind::Unavailable, format!("cannot connect within {REQUEST_TIMEOUT:?}"))),
        }
    }

    pub(super) async fn client(&self, op: &'static str) -> Result<Client, BackendError> {
        Ok(self.db(op).await?.client().get())
    }

    /// Repeats a read until it succeeds, fails for good, or has been tried often enough.
    async fn retry_read<T, F>(&self, op: &'static str, call: impl Fn(Client) -> F) -> Result<T, BackendError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let mut retries = Retries::for_read(&self.random);
        loop {
            let failure = match self.client(op).await {
                Ok(client) => match within(call(client)).await {
                    Ok(answer) => return Ok(answer),
                    Err(status) => retry::read(op, &status),
                },
                Err(error) => AttemptError::Final(error),
            };
            retries.retry(failure).await?;
        }
    }

    /// The documents of those names, in their order.
    pub(super) async fn get(&self, op: &'static str, names: &[String]) -> Result<Vec<Option<Document>>, BackendError> {
        let found = self.retry_read(op, |client| self.look_up(client, names)).await?;
        // A name may occur twice: a user who pays for their own jobs.
        Ok(names.iter().map(|name| found.get(name).cloned()).collect())
    }

    async fn look_up(&self, mut client: Client, names: &[String]) -> Result<HashMap<String, Document>, Status> {
        let distinct: BTreeSet<_> = names.iter().cloned().collect();
        let (database, documents) = (self.database(), distinct.into_iter().collect());
        let request = BatchGetDocumentsRequest { database, documents, ..BatchGetDocumentsRequest::default() };
        let mut answers = client.batch_get_documents(request).await?.into_inner();
        let mut found = HashMap::with_capacity(names.len());
        while let Some(answer) = answers.message().await? {
            if let Some(Found::Found(document)) = answer.result {
                found.insert(document.name.clone(), document);
            }
        }
        Ok(found)
    }

    /// The document of that name.
    pub(super) async fn get_one(&self, op: &'static str, name: String) -> Result<Option<Document>, BackendError> {
        Ok(self.get(op, &[name]).await?.pop().flatten())
    }

    /// Runs a query.
    pub(super) async fn query(&self, op: &'static str, query: StructuredQuery) -> Result<QueryResult, BackendError> {
        let query = &query;
        self.retry_read(op, |mut client| async move {
            let request = RunQueryRequest {
                parent: self.documents(),
                query_type: Some(QueryType::StructuredQuery(query.clone())),
                ..RunQueryRequest::default()
            };
            let mut answers = client.run_query(request).await?.into_inner();
            let mut answer = QueryResult { documents: Vec::new(), at: None };
            while let Some(part) = answers.message().await? {
                answer.documents.extend(part.document);
                answer.at = part.read_time.as_ref().and_then(fields::domain_time).or(answer.at);
            }
            Ok(answer)
        })
        .await
    }

    /// Writes everything or nothing, in one attempt: before a retry, the caller must read again.
    pub(super) async fn commit(&self, op: &'static str, writes: Vec<Write>) -> Result<(), AttemptError> {
        let mut client = self.client(op).await.map_err(AttemptError::Final)?;
        let request = CommitRequest { database: self.database(), writes, ..CommitRequest::default() };
        let answer = within(client.commit(request)).await;
        answer.map(drop).map_err(|status| retry::write(op, &status))
    }

    /// Reads a document that does not exist, once: the caller wants to know whether the database answers now.
    pub(super) async fn ping(&self, op: &'static str) -> Result<(), BackendError> {
        let client = self.client(op).await?;
        let answer = within(self.look_up(client, &[self.name("ping", "ping")])).await;
        answer.map(drop).map_err(|status| retry::failed(op, &status))
    }
}

/// Limits the time of a call.
async fn within<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(REQUEST_TIMEOUT, call)
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded(format!("no answer within {REQUEST_TIMEOUT:?}"))))
}
