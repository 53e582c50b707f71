//! Describes the routes of jobs: one description, completed with the words of each kind.

use utoipa::{
    IntoParams, PartialSchema as _,
    openapi::{
        ComponentsBuilder, ContentBuilder, HeaderBuilder, HttpMethod, Info, Object, ObjectBuilder, OpenApi,
        OpenApiBuilder, Paths, Ref, Required, Response, ResponseBuilder,
        path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
        schema::{KnownFormat, SchemaFormat, Type},
    },
};

use super::list::{DEFAULT_LIMIT, JobPage, MAX_LIMIT};
use crate::gateway::{
    openapi::{LastEventIdHeader, LastEventIdParam, UserIdParam},
    present::statuses,
    resource::JobResource,
};

/// The description of all routes of one kind of job: `all` is the path of the list, `one` that of a job.
pub(super) fn describe<R: JobResource>(all: &str, one: &str) -> OpenApi {
    let mut paths = Paths::new();
    let mut add = |path: String, method: HttpMethod, operation: Operation| {
        paths.add_path_operation(path, vec![method], operation);
    };
    add(all.to_owned(), HttpMethod::Get, list::<R>());
    add(one.to_owned(), HttpMethod::Get, show::<R>());
    add(one.to_owned(), HttpMethod::Delete, delete::<R>());
    add(format!("{one}/cancel"), HttpMethod::Post, cancel::<R>());
    add(format!("{one}/events"), HttpMethod::Get, events::<R>());
    add(format!("{one}/stream-token"), HttpMethod::Post, stream_token::<R>());
    let mut schemas = vec![(R::name().into_owned(), R::schema()), (page_name::<R>(), JobPage::<R>::schema())];
    R::schemas(&mut schemas);
    let components = ComponentsBuilder::new().schemas_from_iter(schemas).build();
    OpenApiBuilder::new().info(Info::default()).paths(paths).components(Some(components)).build()
}

fn page_name<R: JobResource>() -> String {
    format!("{}Page", R::name())
}

fn operation(id: String, tag: &str, summary: String, description: String) -> OperationBuilder {
    OperationBuilder::new().operation_id(Some(id)).tag(tag).summary(Some(summary)).description(Some(description))
}

/// An operation on the job that the path identifies.
fn operation_on_job<R: JobResource>(id: String, tag: &str, summary: String, about: String) -> OperationBuilder {
    let job_id = ParameterBuilder::new()
        .name("id")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(format!("The id of the {}.", R::KIND.noun())))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .example(Some(R::WORDING.example_id.into()));
    operation(id, tag, summary, about)
        .parameter(job_id)
        .parameters(Some(shared::<UserIdParam>()))
        .response("404", ResponseBuilder::new().description(R::WORDING.not_found))
}

fn shared<P: IntoParams>() -> Vec<Parameter> {
    P::into_params(|| None)
}

fn query(name: &str, description: String, schema: ObjectBuilder) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn json(description: String, schema: &str) -> ResponseBuilder {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    ResponseBuilder::new().description(description).content("application/json", content)
}

fn list<R: JobResource>() -> Operation {
    let (noun, nouns, words) = (R::KIND.noun(), R::KIND.collection(), R::WORDING);
    let about = format!(
        "Returns {}, newest first. To read the next page, follow `Link: <…>; rel=\"next\"`, or pass `lastId` as `after`, \
         as long as `hasMore` is true.",
        words.owned
    );
    let status = format!("Only {nouns} in these states, separated by commas: {}.", statuses(R::KIND).join(", "));
    let limit = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
        .minimum(Some(1))
        .maximum(Some(MAX_LIMIT));
    let next = HeaderBuilder::new()
        .schema(Some(Object::with_type(Type::String)))
        .description(Some("The next page, if there is one: `<…>; rel=\"next\"`."));
    operation(format!("list{}s", R::name()), nouns, format!("List {nouns}"), about)
        .parameter(query("status", status, text()))
        .parameter(query("limit", format!("The size of a page; {DEFAULT_LIMIT} by default."), limit))
        .parameter(query("after", format!("The id of the last {noun} of the previous page."), text()))
        .parameters(Some(shared::<UserIdParam>()))
        .response("200", json("A page.".to_owned(), &page_name::<R>()).header("Link", next.build()))
        .response("422", ResponseBuilder::new().description("Parameters are invalid; `errors` lists all of them."))
        .build()
}

fn show<R: JobResource>() -> Operation {
    let noun = R::KIND.noun();
    let about =
        "Returns the current state. If the job belongs to another user, the response is 404, as if it did not exist.";
    operation_on_job::<R>(
        format!("get{}", R::name()),
        R::KIND.collection(),
        format!("Get {}", R::WORDING.a_noun),
        about.to_owned(),
    )
    .response("200", json(format!("The {noun}."), &R::name()))
    .build()
}

fn cancel<R: JobResource>() -> Operation {
    let (noun, words) = (R::KIND.noun(), R::WORDING);
    let about = format!(
        "Stops the {noun} and releases its credits. Cancelling it again, or cancelling a finished {noun}, has no effect.{}",
        words.sharing
    );
    let finished = format!("The {noun} is finished: cancelled, or {} or failed before.", words.finished);
    let stopping = "The job is running and being stopped: `cancelRequested` is true, and an event reports the end.";
    let (id, summary) = (format!("cancel{}", R::name()), format!("Cancel {}", words.a_noun));
    operation_on_job::<R>(id, R::KIND.collection(), summary, about)
        .response("200", json(finished, &R::name()))
        .response("202", json(stopping.to_owned(), &R::name()))
        .build()
}

fn delete<R: JobResource>() -> Operation {
    let (noun, words) = (R::KIND.noun(), R::WORDING);
    let about = format!(
        "Deletes a finished {noun} and its images for good. The ledger keeps what it cost.{}{}",
        words.deletion, words.sharing
    );
    let (id, summary) = (format!("delete{}", R::name()), format!("Delete {}", words.a_noun));
    operation_on_job::<R>(id, R::KIND.collection(), summary, about)
        .response("204", ResponseBuilder::new().description("Deleted."))
        .response("409", ResponseBuilder::new().description(format!("The {noun} is not finished: cancel it first.")))
        .build()
}

fn events<R: JobResource>() -> Operation {
    let (noun, words) = (R::KIND.noun(), R::WORDING);
    let about = format!(
        "Server-sent events: the current state first, then every change until the {noun} is finished: `job.queued`, \
         `job.processing`, `job.progress`, `job.completed`, `job.failed`, `job.cancelled`. `data` is the {noun}, and `id` \
         its version. A client that reconnects with `Last-Event-ID` receives only what it has missed. If it has already \
         received the final state, the response is 204, which stops an `EventSource`.{}",
        words.events
    );
    let (id, summary) = (format!("watch{}", R::name()), format!("Watch {}", words.a_noun));
    operation_on_job::<R>(id, "events", summary, about)
        .parameters(Some(shared::<LastEventIdParam>()))
        .parameters(Some(shared::<LastEventIdHeader>()))
        .response("200", event_stream(words.example_event))
        .response(
            "204",
            ResponseBuilder::new().description("The job is finished, and the client has received its end."),
        )
        .build()
}

fn event_stream(example: &str) -> Response {
    let content = ContentBuilder::new()
        .schema(Some(Object::with_type(Type::String)))
        .example(Some(format!("retry: 2000\n\n{example}").into()));
    ResponseBuilder::new().description("The events.").content("text/event-stream", content.build()).build()
}

fn stream_token<R: JobResource>() -> Operation {
    let (noun, words) = (R::KIND.noun(), R::WORDING);
    let about = format!(
        "Creates an address for `EventSource`, which cannot send `Authorization`. It gives access to the events of this \
         {noun} only, for a few minutes. A stream that is already open stays open; to open it again later, create a new \
         address and add `last_event_id`."
    );
    let id = format!("tokenFor{}Events", R::name());
    operation_on_job::<R>(id, "events", format!("Create an event address for {}", words.a_noun), about)
        .response("200", json("The address.".to_owned(), "StreamToken"))
        .build()
}
