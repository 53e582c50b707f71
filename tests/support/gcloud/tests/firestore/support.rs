//! A running emulator with a raw client, and short constructors of documents and writes.

use gcloud_emulator::Emulator;
use gcloud_sdk::google::firestore::v1::{
    ArrayValue, BeginTransactionRequest, CommitRequest, CommitResponse, Document, DocumentMask, GetDocumentRequest,
    MapValue, Precondition, RunQueryRequest, StructuredQuery, TransactionOptions, Value, Write,
    firestore_client::FirestoreClient, get_document_request, precondition::ConditionType, run_query_request,
    transaction_options, value::ValueType, write::Operation,
};
use prost_types::Timestamp;
use serde_json::{Value as Json, json};
use tonic::{Status, transport::Channel};

pub const DATABASE: &str = "projects/p/databases/(default)";

/// An emulator and its client.
pub struct Db {
    pub emulator: Emulator,
    pub client: FirestoreClient<Channel>,
}

impl Db {
    pub async fn start() -> Self {
        let emulator = Emulator::start().await.unwrap();
        let channel = Channel::from_shared(emulator.url()).unwrap().connect().await.unwrap();
        Self { emulator, client: FirestoreClient::new(channel) }
    }

    pub async fn commit(&self, writes: Vec<Write>) -> Result<CommitResponse, Status> {
        self.commit_in(writes, Vec::new()).await
    }

    pub async fn commit_in(&self, writes: Vec<Write>, transaction: Vec<u8>) -> Result<CommitResponse, Status> {
        let request = CommitRequest { database: DATABASE.into(), writes, transaction, request_options: None };
        Ok(self.client.clone().commit(request).await?.into_inner())
    }

    /// Writes whole documents, each by its path and its fields.
    pub async fn put(&self, documents: &[(&str, Json)]) {
        let writes = documents.iter().map(|(path, fields)| set(path, fields)).collect();
        self.commit(writes).await.unwrap();
    }

    pub async fn get(&self, path: &str) -> Result<Document, Status> {
        self.get_with(path, None).await
    }

    pub async fn get_in(&self, path: &str, transaction: &[u8]) -> Result<Document, Status> {
        self.get_with(path, Some(get_document_request::ConsistencySelector::Transaction(transaction.to_vec()))).await
    }

    pub async fn get_with(
        &self,
        path: &str,
        consistency_selector: Option<get_document_request::ConsistencySelector>,
    ) -> Result<Document, Status> {
        let request = GetDocumentRequest { name: name(path), consistency_selector, ..Default::default() };
        Ok(self.client.clone().get_document(request).await?.into_inner())
    }

    /// The fields of a document as JSON.
    pub async fn fields(&self, path: &str) -> Json {
        fields_json(&self.get(path).await.unwrap())
    }

    /// Begins a read-write transaction.
    pub async fn begin(&self) -> Vec<u8> {
        self.begin_with(transaction_options::Mode::ReadWrite(transaction_options::ReadWrite::default())).await
    }

    pub async fn begin_with(&self, mode: transaction_options::Mode) -> Vec<u8> {
        let options = Some(TransactionOptions { mode: Some(mode) });
        let request = BeginTransactionRequest { database: DATABASE.into(), options, request_options: None };
        self.client.clone().begin_transaction(request).await.unwrap().into_inner().transaction
    }

    /// The paths of a query's results.
    pub async fn query(&self, query: StructuredQuery) -> Result<Vec<String>, Status> {
        self.query_in(query, None).await
    }

    pub async fn query_in(
        &self,
        query: StructuredQuery,
        consistency_selector: Option<run_query_request::ConsistencySelector>,
    ) -> Result<Vec<String>, Status> {
        let found = self.query_documents(query, consistency_selector).await?;
        Ok(found.into_iter().map(|document| path_of(&document.name)).collect())
    }

    pub async fn query_documents(
        &self,
        query: StructuredQuery,
        consistency_selector: Option<run_query_request::ConsistencySelector>,
    ) -> Result<Vec<Document>, Status> {
        let request = RunQueryRequest {
            parent: format!("{DATABASE}/documents"),
            query_type: Some(run_query_request::QueryType::StructuredQuery(query)),
            consistency_selector,
            ..Default::default()
        };
        let mut answers = self.client.clone().run_query(request).await?.into_inner();
        let mut documents = Vec::new();
        while let Some(answer) = answers.message().await? {
            documents.extend(answer.document);
        }
        Ok(documents)
    }
}

pub fn name(path: &str) -> String {
    format!("{DATABASE}/documents/{path}")
}

pub fn path_of(name: &str) -> String {
    name.strip_prefix(&name_root()).unwrap().to_owned()
}

fn name_root() -> String {
    name("")
}

/// Replaces or creates a document.
pub fn set(path: &str, fields: &Json) -> Write {
    let document = Document { name: name(path), fields: map(fields), ..Default::default() };
    Write { operation: Some(Operation::Update(document)), ..Default::default() }
}

/// Updates only these fields.
pub fn patch(path: &str, fields: &Json, mask: &[&str]) -> Write {
    let field_paths = mask.iter().map(|&path| path.to_owned()).collect();
    Write { update_mask: Some(DocumentMask { field_paths }), ..set(path, fields) }
}

pub fn delete(path: &str) -> Write {
    Write { operation: Some(Operation::Delete(name(path))), ..Default::default() }
}

/// The write with a precondition.
pub fn when(write: Write, exists: bool) -> Write {
    Write { current_document: Some(Precondition { condition_type: Some(ConditionType::Exists(exists)) }), ..write }
}

pub fn when_updated_at(write: Write, at: Option<Timestamp>) -> Write {
    let condition_type = Some(ConditionType::UpdateTime(at.unwrap()));
    Write { current_document: Some(Precondition { condition_type }), ..write }
}

/// A value of the API from JSON.
pub fn value(json: &Json) -> Value {
    let value_type = match json {
        Json::Null => ValueType::NullValue(0),
        Json::Bool(boolean) => ValueType::BooleanValue(*boolean),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => ValueType::IntegerValue(integer),
            None => ValueType::DoubleValue(number.as_f64().unwrap()),
        },
        Json::String(string) => ValueType::StringValue(string.clone()),
        Json::Array(values) => ValueType::ArrayValue(ArrayValue { values: values.iter().map(value).collect() }),
        Json::Object(_) => ValueType::MapValue(MapValue { fields: map(json) }),
    };
    Value { value_type: Some(value_type) }
}

fn map(json: &Json) -> std::collections::HashMap<String, Value> {
    json.as_object().unwrap().iter().map(|(name, json)| (name.clone(), value(json))).collect()
}

pub fn fields_json(document: &Document) -> Json {
    document.fields.iter().map(|(name, value)| (name.clone(), json_of(value))).collect()
}

pub fn json_of(value: &Value) -> Json {
    match value.value_type.as_ref().unwrap() {
        ValueType::NullValue(_) => Json::Null,
        ValueType::BooleanValue(boolean) => json!(boolean),
        ValueType::IntegerValue(integer) => json!(integer),
        ValueType::DoubleValue(double) => json!(double),
        ValueType::StringValue(string) => json!(string),
        ValueType::ArrayValue(array) => array.values.iter().map(json_of).collect(),
        ValueType::MapValue(map) => map.fields.iter().map(|(name, value)| (name.clone(), json_of(value))).collect(),
        other => json!(format!("{other:?}")),
    }
}
