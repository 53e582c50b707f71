//! Writes of one document, and batches of independent writes.

use std::collections::HashSet;

use gcloud_sdk::google::{
    firestore::v1::{
        BatchWriteRequest, BatchWriteResponse, CreateDocumentRequest, DeleteDocumentRequest, Document, DocumentMask,
        Precondition, UpdateDocumentRequest, Write, WriteResult, precondition::ConditionType, write::Operation,
    },
    rpc,
};
use rand_core::{OsRng, RngCore as _};
use tonic::Code;

use super::{
    Firestore,
    field::{self, FieldPath},
    name::{self, Name},
    refusal::{Outcome, Refusal},
    state::Selector,
    write,
};

const ID_LENGTH: usize = 20;
const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

impl Firestore {
    pub(super) async fn create(&self, request: CreateDocumentRequest) -> Outcome<Document> {
        let id = if request.document_id.is_empty() { random_id() } else { request.document_id };
        let name = format!("{}/{}/{id}", request.parent, request.collection_id);
        let document = Document { name, ..request.document.unwrap_or_default() };
        let current_document = Some(Precondition { condition_type: Some(ConditionType::Exists(false)) });
        let operation = Some(Operation::Update(document));
        self.write_one(Write { operation, current_document, ..Write::default() }, request.mask).await
    }

    pub(super) async fn update(&self, request: UpdateDocumentRequest) -> Outcome<Document> {
        let document = request.document.ok_or_else(|| Refusal::invalid("A request has no document."))?;
        let write = Write {
            operation: Some(Operation::Update(document)),
            update_mask: request.update_mask,
            current_document: request.current_document,
            ..Write::default()
        };
        self.write_one(write, request.mask).await
    }

    pub(super) async fn delete(&self, request: DeleteDocumentRequest) -> Outcome<()> {
        let database = Name::document(&request.name)?.database().to_owned();
        let operation = Some(Operation::Delete(request.name));
        let write = Write { operation, current_document: request.current_document, ..Write::default() };
        self.commit_unlocked(&database, vec![write], &[]).await.map(drop)
    }

    pub(super) async fn write_batch(&self, request: BatchWriteRequest) -> Outcome<BatchWriteResponse> {
        name::check_database(&request.database)?;
        let mut names = HashSet::new();
        for write in &request.writes {
            if !names.insert(write::target(&request.database, write)?) {
                return Err(Refusal::invalid("A batch has two writes of one document."));
            }
        }
        let mut response = BatchWriteResponse::default();
        for write in request.writes {
            let written = self.commit_unlocked(&request.database, vec![write], &[]).await;
            let (result, status) = match written {
                Ok(done) => (done.write_results.into_iter().next().unwrap_or_default(), rpc::Status::default()),
                Err(Refusal { code, message }) => {
                    (WriteResult::default(), rpc::Status { code: code.into(), message, details: Vec::new() })
                }
            };
            response.write_results.push(result);
            response.status.push(status);
        }
        Ok(response)
    }

    async fn write_one(&self, write: Write, mask: Option<DocumentMask>) -> Outcome<Document> {
        let Some(Operation::Update(Document { name, .. })) = &write.operation else {
            return Err(Refusal::invalid("A write is no update."));
        };
        let name = Name::document(name)?;
        let mask = mask.map(|mask| mask.field_paths.iter().map(|path| FieldPath::parse(path)).collect());
        let mask: Option<Vec<FieldPath>> = mask.transpose()?;
        let done = self.commit_unlocked(name.database(), vec![write], &[]).await?;
        // As of this commit, whatever follows it.
        let at = done.commit_time.map_or(Selector::Latest, Selector::At);
        let mut state = self.state();
        let view = state.view(name.database(), at)?;
        let document = state.documents.at(&name, view.at).cloned();
        let document = document.ok_or_else(|| Refusal::new(Code::NotFound, "the document has gone"))?;
        Ok(mask.map_or_else(|| Document::clone(&document), |paths| field::project(&document, &paths)))
    }
}

/// A random id, as the clients make it.
fn random_id() -> String {
    let letter = |_| char::from(LETTERS[OsRng.next_u32() as usize % LETTERS.len()]);
    (0..ID_LENGTH).map(letter).collect()
}
