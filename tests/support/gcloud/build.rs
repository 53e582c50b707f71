//! Makes the servers of the gRPC services, for the message types that `gcloud-sdk` has (it has the clients alone).

use tonic_build::manual::{Builder, Method, Service};

/// A method: its name, the types of its request and answer, and whether each is a stream.
type Rpc = (&'static str, &'static str, &'static str, bool, bool);

const FIRESTORE: &[Rpc] = &[
    ("GetDocument", "GetDocumentRequest", "Document", false, false),
    ("BatchGetDocuments", "BatchGetDocumentsRequest", "BatchGetDocumentsResponse", false, true),
    ("CreateDocument", "CreateDocumentRequest", "Document", false, false),
    ("UpdateDocument", "UpdateDocumentRequest", "Document", false, false),
    ("DeleteDocument", "DeleteDocumentRequest", "Empty", false, false),
    ("BatchWrite", "BatchWriteRequest", "BatchWriteResponse", false, false),
    ("BeginTransaction", "BeginTransactionRequest", "BeginTransactionResponse", false, false),
    ("Commit", "CommitRequest", "CommitResponse", false, false),
    ("Rollback", "RollbackRequest", "Empty", false, false),
    ("RunQuery", "RunQueryRequest", "RunQueryResponse", false, true),
    ("RunAggregationQuery", "RunAggregationQueryRequest", "RunAggregationQueryResponse", false, true),
    ("Listen", "ListenRequest", "ListenResponse", true, true),
];

const PUBLISHER: &[Rpc] = &[("Publish", "PublishRequest", "PublishResponse", false, false)];

const SUBSCRIBER: &[Rpc] = &[
    ("Pull", "PullRequest", "PullResponse", false, false),
    ("Acknowledge", "AcknowledgeRequest", "Empty", false, false),
    ("ModifyAckDeadline", "ModifyAckDeadlineRequest", "Empty", false, false),
    ("Seek", "SeekRequest", "SeekResponse", false, false),
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    Builder::new().build_client(false).compile(&[
        service("Firestore", "google.firestore.v1", FIRESTORE),
        service("Publisher", "google.pubsub.v1", PUBLISHER),
        service("Subscriber", "google.pubsub.v1", SUBSCRIBER),
    ]);
}

fn service(name: &str, package: &str, methods: &[Rpc]) -> Service {
    let module = package.replace('.', "::");
    let path = |message: &str| match message {
        // The codec knows the empty message as `()`, and the maker of servers wants a name.
        "Empty" => "crate::services::Empty".to_owned(),
        message => format!("gcloud_sdk::{module}::{message}"),
    };
    methods
        .iter()
        .fold(Service::builder().name(name).package(package), |service, (rpc, request, answer, sends, answers)| {
            let mut method = Method::builder()
                .name(snake(rpc))
                .route_name(*rpc)
                .input_type(path(request))
                .output_type(path(answer))
                .codec_path("tonic_prost::ProstCodec");
            if *sends {
                method = method.client_streaming();
            }
            if *answers {
                method = method.server_streaming();
            }
            service.method(method.build())
        })
        .build()
}

/// `BeginTransaction` as `begin_transaction`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for (at, c) in name.char_indices() {
        if c.is_ascii_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}
