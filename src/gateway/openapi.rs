//! The API's description. The routes describe themselves; what all of them share is added here, once.

use utoipa::{
    OpenApi as _, ToSchema as _,
    openapi::{
        Content, ContentBuilder, HeaderBuilder, InfoBuilder, LicenseBuilder, ObjectBuilder, OpenApi, OpenApiBuilder,
        PathItem, Ref, RefOr, Response, ResponseBuilder, Schema, Server,
        path::Operation,
        schema::{SchemaType, Type},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
        tag::TagBuilder,
    },
};

use super::{
    Auth, GatewayState,
    problem::{self, Problem, ProblemDocument},
};

const ABOUT: &str = "Asks for AI illustrations and watches them being made.\n\n`POST /generate` answers within \
milliseconds with a job that is never lost; follow it by its events, or poll its path. Credits are held when the job is \
accepted and paid for what is delivered; the rest is given back.\n\nErrors are problem documents (RFC 9457) with a \
stable `code`; those with `retryable` may succeed later. Where requests are limited, `RateLimit` and \
`RateLimit-Policy` of every answer tell what is left, and a refusal (429, 503) says with `Retry-After` when to try \
again. Every answer bears an `X-Request-Id`: quote it when you ask \
for help.";

const TAGS: [(&str, &str); 6] = [
    ("illustrations", "Ask for pictures, look at them, stop them, delete them."),
    ("brands", "Upload pictures, train a style from them, draw in it."),
    ("events", "Server-sent events: what happens, as it happens."),
    ("account", "Styles to choose from and credits to pay with."),
    ("media", "The pictures themselves."),
    ("service", "For probes and load balancers."),
];

/// What anybody may ask.
const PUBLIC: [&str; 2] = ["/health", "/ready"];
/// The names of the schemes that callers are known by.
const BEARER: &str = "idToken";
const IN_ADDRESS: &str = "pathToken";

/// The description before there are routes.
pub(super) fn frame(state: &GatewayState) -> OpenApi {
    let info = InfoBuilder::new()
        .title("MediaForge")
        .version(state.0.version)
        .description(Some(ABOUT))
        .license(Some(LicenseBuilder::new().name("MIT").identifier(Some("MIT")).build()));
    let server = Server::new(state.0.public_url.as_deref().unwrap_or("/"));
    let tags = TAGS.map(|(name, about)| TagBuilder::new().name(name).description(Some(about)).build());
    OpenApiBuilder::new().info(info.build()).servers(Some([server])).tags(Some(tags)).build()
}

/// The description with what every route has: problem documents, the request's id, and this deployment's limits.
pub(super) fn complete(mut api: OpenApi, state: &GatewayState) -> OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(components(schemas(ProblemDocument, super::problem::WrongField)))]
    struct Shared;
    api.merge(Shared::openapi());
    // axum's spelling of a path's rest is not OpenAPI's.
    let paths = std::mem::take(&mut api.paths.paths);
    api.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    let described = api.paths.paths.iter_mut().flat_map(|(path, item)| operations(item).map(move |one| (path, one)));
    let signs_in = matches!(state.0.auth, Auth::Firebase(_));
    for (path, operation) in described {
        if signs_in && !PUBLIC.contains(&path.as_str()) {
            sign_in(path, operation);
        }
        let unforeseen = ResponseBuilder::new().description("A defect of the server; its log knows the request id.");
        operation.responses.responses.entry("500".to_owned()).or_insert_with(|| unforeseen.build().into());
        if path != "/health" {
            let busy = "Too many requests of this user or address, too many open streams or unfinished jobs: `code` \
                        says which.";
            let responses = &mut operation.responses.responses;
            for (status, about) in [("429", busy), ("503", "Too many requests at once, or a backend does not answer.")]
            {
                let refused = || ResponseBuilder::new().description(about).build().into();
                responses.entry(status.to_owned()).or_insert_with(refused);
            }
        }
        let sent = operation.request_body.iter_mut().filter_map(|body| match body {
            RefOr::T(body) => Some(&mut body.content),
            RefOr::Ref(_) => None,
        });
        sent.flatten().for_each(only_bytes);
        for (status, response) in &mut operation.responses.responses {
            if let RefOr::T(response) = response {
                describe(status, response, path);
            }
        }
        for parameter in operation.parameters.iter_mut().flatten() {
            if let RefOr::T(parameter) = parameter {
                parameter.schema.as_mut().map(never_null);
            }
        }
    }
    limit(&mut api, state);
    if signs_in && let Some(components) = api.components.as_mut() {
        let about = "The ID token of a Firebase user.";
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").description(Some(about));
        components.add_security_scheme(BEARER, SecurityScheme::Http(bearer.build()));
        let about = "Good for one path, for a while; stands in the addresses that this API answers.";
        let query = ApiKey::Query(ApiKeyValue::with_description("token", about));
        components.add_security_scheme(IN_ADDRESS, SecurityScheme::ApiKey(query));
    }
    api
}

/// What is asked of a caller, and what one hears who is not known.
fn sign_in(path: &str, operation: &mut Operation) {
    let scheme = |name: &str| SecurityRequirement::new(name, std::iter::empty::<String>());
    let in_address = (path.ends_with("/events") || path.starts_with("/media/")).then(|| scheme(IN_ADDRESS));
    operation.security = Some([Some(scheme(BEARER)), in_address].into_iter().flatten().collect());
    let refusals = [
        (
            "401",
            "There is no good token: the same answer whatever is wrong. `stream_token_expired`: ask for a new address.",
        ),
        ("403", "`userId` is another's than the token's, or the token's user id cannot be used here."),
        ("503", "Too many requests at once, a backend does not answer, or the keys of tokens cannot be fetched."),
    ];
    for (status, about) in refusals {
        let refused = || ResponseBuilder::new().description(about).build().into();
        operation.responses.responses.entry(status.to_owned()).or_insert_with(refused);
    }
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter
            && parameter.name == "userId"
        {
            parameter.description = Some("The caller, who is known by the token: the same, or absent.".to_owned());
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.delete].into_iter().flatten()
}

fn describe(status: &str, response: &mut Response, path: &str) {
    for header in response.headers.values_mut() {
        if let RefOr::T(header) = header {
            header.schema.as_mut().map(never_null);
        }
    }
    response.content.iter_mut().for_each(only_bytes);
    let header = |about: &str, kind: Type| {
        let schema = ObjectBuilder::new().schema_type(kind).build();
        RefOr::T(HeaderBuilder::new().schema(Some(schema)).description(Some(about)).build())
    };
    response.headers.insert("X-Request-Id".to_owned(), header("Names this request in the log.", Type::String));
    if status == "429" {
        let policy =
            "The limits that were applied, such as `\"user\";q=600;w=60`: so many requests in so many seconds.";
        response.headers.insert("RateLimit-Policy".to_owned(), header(policy, Type::String));
        let left = "What each of them leaves, and in how many seconds it is whole again: `\"user\";r=0;t=1`.";
        response.headers.insert("RateLimit".to_owned(), header(left, Type::String));
    }
    if status == "429" || status == "503" {
        response.headers.insert("Retry-After".to_owned(), header("Seconds to wait.", Type::Integer));
    }
    if status.starts_with('4') || status.starts_with('5') {
        let example =
            Problem::example(status).map(|problem| problem.document(path, "req_7d3f0c1be2a94f658d1c0a9b8e7f6a5b"));
        let example = example.and_then(|document| serde_json::from_slice(&document).ok());
        let schema = Ref::from_schema_name(ProblemDocument::name());
        let content = ContentBuilder::new().schema(Some(schema)).example(example).build();
        response.content.insert(problem::CONTENT_TYPE.to_owned(), content.into());
    }
}

/// Of a picture: what the media type says, and nothing else.
fn only_bytes((kind, content): (&String, &mut RefOr<Content>)) {
    if let (true, RefOr::T(content)) = (kind.starts_with("image/"), content) {
        content.schema = None;
    }
}

/// Headers and parameters are absent or text; `null` cannot be sent in either.
fn never_null(schema: &mut RefOr<Schema>) {
    let RefOr::T(Schema::Object(object)) = schema else { return };
    if let SchemaType::Array(kinds) = &mut object.schema_type {
        kinds.retain(|kind| *kind != Type::Null);
        if let [kind] = kinds.as_slice() {
            object.schema_type = SchemaType::Type(kind.clone());
        }
    }
}

/// The limits of requests as they are configured here.
fn limit(api: &mut OpenApi, state: &GatewayState) {
    let config = state.submission().settings();
    let signs_in = matches!(state.0.auth, Auth::Firebase(_));
    let (limits, brands) = (&config.limits, &config.brand_limits);
    let Some(components) = api.components.as_mut() else { return };
    for (request, schema) in &mut components.schemas {
        let RefOr::T(Schema::Object(schema)) = schema else { continue };
        for (name, field) in &mut schema.properties {
            let RefOr::T(field) = field else { continue };
            match (request.as_str(), name.as_str(), field) {
                (_, "userId", Schema::Object(field)) if signs_in && request.ends_with("Request") => {
                    field.description = Some("Who asks, which the token says: the same, or absent.".to_owned());
                }
                ("GenerateRequest", "prompt", Schema::Object(field)) => field.max_length = Some(limits.prompt_chars),
                ("GenerateRequest", "width" | "height", Schema::Object(field)) => {
                    field.minimum = Some(limits.min_side.into());
                    field.maximum = Some(limits.max_side.into());
                }
                ("GenerateRequest", "count", Schema::Object(field)) => field.maximum = Some(limits.max_count.into()),
                ("GenerateRequest", "styleId", Schema::Object(field)) => {
                    // No enumeration: brands are styles too.
                    field.examples = config.catalogue.iter().map(|style| style.id.clone().into()).collect();
                }
                ("TrainRequest", "brandName", Schema::Object(field)) => field.max_length = Some(brands.name_chars),
                ("TrainRequest", "brandColors", Schema::Array(field)) => field.max_items = Some(brands.max_colors),
                ("TrainRequest", "trainingImages", Schema::Array(field)) => {
                    (field.min_items, field.max_items) = (Some(brands.min_images), Some(brands.max_images));
                }
                ("UploadRequest", "size", Schema::Object(field)) => {
                    field.maximum = Some(config.uploads.limits.max_bytes.into());
                }
                _ => {}
            }
        }
    }
}
