//! The methods of the service.

use std::pin::Pin;

use futures::{Stream, stream};
use gcloud_sdk::google::firestore::v1::{
    BatchGetDocumentsRequest, BatchGetDocumentsResponse, BatchWriteRequest, BatchWriteResponse,
    BeginTransactionRequest, BeginTransactionResponse, CommitRequest, CommitResponse, CreateDocumentRequest,
    DeleteDocumentRequest, Document, GetDocumentRequest, ListenRequest, ListenResponse, RollbackRequest,
    RunAggregationQueryRequest, RunAggregationQueryResponse, RunQueryRequest, RunQueryResponse, UpdateDocumentRequest,
    batch_get_documents_request, batch_get_documents_response, get_document_request, run_aggregation_query_request,
    run_query_request,
};
use prost::Message as _;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{
    Firestore,
    field::{self, FieldPath},
    listen,
    name::{self, Name},
    query::aggregate,
    refusal::{Outcome, Refusal},
    state::Selector,
};
use crate::services::{Empty, firestore::firestore_server};

const MAX_REQUEST: usize = 10 * 1024 * 1024;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl firestore_server::Firestore for Firestore {
    type BatchGetDocumentsStream = Answers<BatchGetDocumentsResponse>;
    type RunQueryStream = Answers<RunQueryResponse>;
    type RunAggregationQueryStream = Answers<RunAggregationQueryResponse>;
    type ListenStream = Answers<ListenResponse>;

    async fn get_document(&self, request: Request<GetDocumentRequest>) -> Result<Response<Document>, Status> {
        Ok(Response::new(self.get_one(request.into_inner())?))
    }

    async fn batch_get_documents(
        &self,
        request: Request<BatchGetDocumentsRequest>,
    ) -> Result<Response<Self::BatchGetDocumentsStream>, Status> {
        Ok(answers(self.get_many(request.into_inner())?))
    }

    async fn create_document(&self, request: Request<CreateDocumentRequest>) -> Result<Response<Document>, Status> {
        Ok(Response::new(self.create(request.into_inner()).await?))
    }

    async fn update_document(&self, request: Request<UpdateDocumentRequest>) -> Result<Response<Document>, Status> {
        Ok(Response::new(self.update(request.into_inner()).await?))
    }

    async fn delete_document(&self, request: Request<DeleteDocumentRequest>) -> Result<Response<Empty>, Status> {
        Ok(Response::new(self.delete(request.into_inner()).await?))
    }

    async fn batch_write(&self, request: Request<BatchWriteRequest>) -> Result<Response<BatchWriteResponse>, Status> {
        let request = request.into_inner();
        check_length(request.encoded_len())?;
        Ok(Response::new(self.write_batch(request).await?))
    }

    async fn begin_transaction(
        &self,
        request: Request<BeginTransactionRequest>,
    ) -> Result<Response<BeginTransactionResponse>, Status> {
        let request = request.into_inner();
        name::check_database(&request.database)?;
        let transaction = self.state().begin(&request.database, request.options)?;
        Ok(Response::new(BeginTransactionResponse { transaction }))
    }

    async fn commit(&self, request: Request<CommitRequest>) -> Result<Response<CommitResponse>, Status> {
        let request = request.into_inner();
        name::check_database(&request.database)?;
        check_length(request.encoded_len())?;
        let done = self.commit_unlocked(&request.database, request.writes, &request.transaction).await?;
        Ok(Response::new(done))
    }

    async fn rollback(&self, request: Request<RollbackRequest>) -> Result<Response<Empty>, Status> {
        let request = request.into_inner();
        self.state().transactions.end(&request.database, &request.transaction)?;
        self.shared.released.notify_waiters();
        Ok(Response::new(()))
    }

    async fn run_query(&self, request: Request<RunQueryRequest>) -> Result<Response<Self::RunQueryStream>, Status> {
        Ok(answers(self.find(request.into_inner())?))
    }

    async fn run_aggregation_query(
        &self,
        request: Request<RunAggregationQueryRequest>,
    ) -> Result<Response<Self::RunAggregationQueryStream>, Status> {
        Ok(answers(vec![self.aggregate(request.into_inner())?]))
    }

    async fn listen(&self, request: Request<Streaming<ListenRequest>>) -> Result<Response<Self::ListenStream>, Status> {
        Ok(Response::new(Box::pin(listen::open(self.clone(), request.into_inner()))))
    }
}

impl Firestore {
    fn get_one(&self, request: GetDocumentRequest) -> Outcome<Document> {
        use get_document_request::ConsistencySelector as S;
        let name = Name::document(&request.name)?;
        let mask = paths(request.mask.map(|mask| mask.field_paths))?;
        let selector = match request.consistency_selector {
            None => Selector::Latest,
            Some(S::Transaction(id)) => Selector::In(id),
            Some(S::ReadTime(at)) => Selector::At(at),
        };
        let mut state = self.state();
        let view = state.view(name.database(), selector)?;
        let document = state.read(&view, &name);
        let document = document
            .ok_or_else(|| Refusal::new(Code::NotFound, format!("Document \"{}\" not found.", name.as_str())))?;
        Ok(masked(&document, mask.as_deref()))
    }

    fn get_many(&self, request: BatchGetDocumentsRequest) -> Outcome<Vec<BatchGetDocumentsResponse>> {
        use batch_get_documents_request::ConsistencySelector as S;
        use batch_get_documents_response::Result as Found;
        name::check_database(&request.database)?;
        let mask = paths(request.mask.map(|mask| mask.field_paths))?;
        let mut names: Vec<Name> = Vec::with_capacity(request.documents.len());
        for name in &request.documents {
            let name = Name::document_in(&request.database, name)?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let selector = match request.consistency_selector {
            None => Selector::Latest,
            Some(S::Transaction(id)) => Selector::In(id),
            Some(S::NewTransaction(options)) => Selector::New(options),
            Some(S::ReadTime(at)) => Selector::At(at),
        };
        let mut state = self.state();
        let view = state.view(&request.database, selector)?;
        let mut answers = Vec::with_capacity(names.len() + 1);
        if !view.begun.is_empty() {
            answers.push(BatchGetDocumentsResponse { transaction: view.begun.clone(), ..Default::default() });
        }
        for name in names {
            let result = match state.read(&view, &name) {
                Some(document) => Found::Found(masked(&document, mask.as_deref())),
                None => Found::Missing(name.as_str().to_owned()),
            };
            let read_time = Some(view.at.timestamp());
            answers.push(BatchGetDocumentsResponse { transaction: Vec::new(), read_time, result: Some(result) });
        }
        Ok(answers)
    }

    fn find(&self, request: RunQueryRequest) -> Outcome<Vec<RunQueryResponse>> {
        use run_query_request::ConsistencySelector as S;
        refuse_explanation(request.explain_options.is_some())?;
        let Some(run_query_request::QueryType::StructuredQuery(query)) = request.query_type else {
            return Err(Refusal::invalid("A request has no query."));
        };
        let selector = match request.consistency_selector {
            None => Selector::Latest,
            Some(S::Transaction(id)) => Selector::In(id),
            Some(S::NewTransaction(options)) => Selector::New(options),
            Some(S::ReadTime(at)) => Selector::At(at),
        };
        let parent = Name::parent(&request.parent)?;
        let mut state = self.state();
        let plan = state.plan(&request.parent, query)?;
        let view = state.view(parent.database(), selector)?;
        let found = state.query(&view, &plan);
        drop(state);
        let mut answers = Vec::with_capacity(found.len() + 2);
        if !view.begun.is_empty() {
            answers.push(RunQueryResponse { transaction: view.begun, ..Default::default() });
        }
        let answer = RunQueryResponse { read_time: Some(view.at.timestamp()), ..Default::default() };
        if found.is_empty() {
            answers.push(answer.clone());
        }
        let documents = found.iter().map(|document| Some(plan.project(document)));
        answers.extend(documents.map(|document| RunQueryResponse { document, ..answer.clone() }));
        Ok(answers)
    }

    fn aggregate(&self, request: RunAggregationQueryRequest) -> Outcome<RunAggregationQueryResponse> {
        use gcloud_sdk::google::firestore::v1::AggregationResult;
        use run_aggregation_query_request::ConsistencySelector as S;
        refuse_explanation(request.explain_options.is_some())?;
        let Some(run_aggregation_query_request::QueryType::StructuredAggregationQuery(query)) = request.query_type
        else {
            return Err(Refusal::invalid("A request has no query."));
        };
        let selector = match request.consistency_selector {
            None => Selector::Latest,
            Some(S::Transaction(id)) => Selector::In(id),
            Some(S::NewTransaction(options)) => Selector::New(options),
            Some(S::ReadTime(at)) => Selector::At(at),
        };
        let (aggregations, query) = aggregate::parse(query)?;
        let parent = Name::parent(&request.parent)?;
        let mut state = self.state();
        let plan = state.plan(&request.parent, query)?;
        if let Some(indexes) = &state.settings.indexes {
            indexes.check_aggregation(&plan, aggregate::fields(&aggregations))?;
        }
        let view = state.view(parent.database(), selector)?;
        let found = state.query(&view, &plan);
        let aggregate_fields = aggregate::compute(&aggregations, &found);
        Ok(RunAggregationQueryResponse {
            result: Some(AggregationResult { aggregate_fields }),
            transaction: view.begun,
            read_time: Some(view.at.timestamp()),
            explain_metrics: None,
        })
    }
}

fn answers<T: Send + 'static>(all: Vec<T>) -> Response<Answers<T>> {
    Response::new(Box::pin(stream::iter(all.into_iter().map(Ok))))
}

fn paths(mask: Option<Vec<String>>) -> Outcome<Option<Vec<FieldPath>>> {
    mask.map(|paths| paths.iter().map(|path| FieldPath::parse(path)).collect()).transpose()
}

fn masked(document: &Document, mask: Option<&[FieldPath]>) -> Document {
    mask.map_or_else(|| document.clone(), |paths| field::project(document, paths))
}

fn check_length(length: usize) -> Outcome<()> {
    if length > MAX_REQUEST {
        return Err(Refusal::invalid(format!("Request payload size exceeds the limit: {MAX_REQUEST} bytes.")));
    }
    Ok(())
}

fn refuse_explanation(is_requested: bool) -> Outcome<()> {
    if is_requested {
        return Err(Refusal::new(Code::Unimplemented, "the emulator explains no queries"));
    }
    Ok(())
}
