//! The description of the API. Each route describes itself; this module adds what all routes share.

mod parameters;

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

pub(super) use self::parameters::{LastEventIdHeader, LastEventIdParam, SubmitHeaders, UserIdParam};
use super::{
    Auth, GatewayState,
    problem::{self, InvalidField, Problem, ProblemDocument},
};

const ABOUT: &str = "Create AI illustrations and follow their progress.\n\n`POST /generate` responds within \
milliseconds with a job that is never lost. Watch the job's events, or poll the job. Credits are held when a job is \
accepted. A successful job pays for the images that it delivers; the rest of the credits is released.\n\nErrors are \
problem documents (RFC 9457) with a stable `code`. If `retryable` is true, the same request may succeed later. Where \
requests are limited, every response carries `RateLimit-Policy` and `RateLimit` with the remaining requests, and a \
refusal (429, 503) carries `Retry-After`. Every response has an `X-Request-Id`: quote it when you ask for help.";

const TAGS: [(&str, &str); 6] = [
    ("illustrations", "Create illustrations, read, cancel and delete them."),
    ("brands", "Upload training images, train a brand from them, and draw in its style."),
    ("events", "Server-sent events: follow jobs as they change."),
    ("account", "Styles and credits."),
    ("media", "The images."),
    ("service", "For probes and load balancers."),
];

/// Routes that require no sign-in.
const PUBLIC: [&str; 2] = ["/health", "/ready"];
/// Names of the security schemes.
const BEARER: &str = "idToken";
const PATH_TOKEN: &str = "pathToken";

/// The description without routes.
pub(super) fn base(state: &GatewayState) -> OpenApi {
    let info = InfoBuilder::new()
        .title("MediaForge")
        .version(state.0.version)
        .description(Some(ABOUT))
        .license(Some(LicenseBuilder::new().name("MIT").identifier(Some("MIT")).build()));
    let server = Server::new(state.0.public_url.as_deref().unwrap_or("/"));
    let tags = TAGS.map(|(name, about)| TagBuilder::new().name(name).description(Some(about)).build());
    OpenApiBuilder::new().info(info.build()).servers(Some([server])).tags(Some(tags)).build()
}

/// Adds what every route shares: problem documents, common refusals, the request id, and this deployment's limits.
pub(super) fn complete(mut api: OpenApi, state: &GatewayState) -> OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(components(schemas(ProblemDocument, InvalidField)))]
    struct Shared;
    api.merge(Shared::openapi());
    // axum writes the rest of a path as `{*key}`, OpenAPI as `{key}`.
    let paths = std::mem::take(&mut api.paths.paths);
    api.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    let signs_in = matches!(state.0.auth, Auth::Firebase(_));
    for (path, item) in &mut api.paths.paths {
        for operation in operations(item) {
            if signs_in && !PUBLIC.contains(&path.as_str()) {
                require_sign_in(path, operation);
            }
            add_common_refusals(path, operation);
            complete_operation(path, operation);
        }
    }
    describe_configured_limits(&mut api, state);
    if signs_in && let Some(components) = api.components.as_mut() {
        let about = "The ID token of a Firebase user.";
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").description(Some(about));
        components.add_security_scheme(BEARER, SecurityScheme::Http(bearer.build()));
        let about = "A token that is valid for this path only, as part of an address: `POST .../stream-token` creates \
                     addresses of events, and a job contains the addresses of its images.";
        let token = ApiKey::Query(ApiKeyValue::with_description("token", about));
        components.add_security_scheme(PATH_TOKEN, SecurityScheme::ApiKey(token));
    }
    api
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete].into_iter().flatten()
}

/// Describes a response unless the route describes this status itself.
fn add_response(operation: &mut Operation, status: &str, about: &str) {
    let response = || ResponseBuilder::new().description(about).build().into();
    operation.responses.responses.entry(status.to_owned()).or_insert_with(response);
}

fn require_sign_in(path: &str, operation: &mut Operation) {
    let scheme = |name: &str| SecurityRequirement::new(name, std::iter::empty::<String>());
    let takes_path_token = path.ends_with("/events") || path.starts_with("/media/");
    operation.security =
        Some([Some(scheme(BEARER)), takes_path_token.then(|| scheme(PATH_TOKEN))].into_iter().flatten().collect());
    let unauthorized = "The request has no valid token. The response does not depend on what is wrong with the token, \
                        except for `stream_token_expired`: the client then needs a new address.";
    add_response(operation, "401", unauthorized);
    let forbidden = "`userId` differs from the token's user, or the token's user id cannot be used here.";
    add_response(operation, "403", forbidden);
    let unavailable = "Too many requests at once, a backend does not respond, or the keys that verify tokens cannot be \
                       fetched.";
    add_response(operation, "503", unavailable);
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter
            && parameter.name == "userId"
        {
            let about = "The token identifies the calling user: leave this out, or repeat the token's user id.";
            parameter.description = Some(about.to_owned());
        }
    }
}

fn add_common_refusals(path: &str, operation: &mut Operation) {
    add_response(operation, "500", "The server has a defect. Its log has an entry with the request id.");
    if path == "/health" {
        return;
    }
    let busy = "The user or the address has sent too many requests, or the user has too many open streams or \
                unfinished jobs. `code` tells which limit was reached.";
    add_response(operation, "429", busy);
    add_response(operation, "503", "Too many requests at once, or a backend does not respond.");
    let takes_user_id = operation.parameters.iter().flatten().any(|parameter| match parameter {
        RefOr::T(parameter) => parameter.name == "userId",
        RefOr::Ref(_) => false,
    });
    if takes_user_id {
        add_response(operation, "422", "The user id is invalid.");
    }
    let takes_json = operation.request_body.as_ref().is_some_and(|body| match body {
        RefOr::T(body) => body.content.contains_key("application/json"),
        RefOr::Ref(_) => false,
    });
    if takes_json {
        add_response(
            operation,
            "400",
            "The body is not valid JSON, or has a wrong type, an unknown or a repeated field.",
        );
        add_response(operation, "408", "The body did not arrive in time.");
        add_response(operation, "413", "The body is too large.");
        add_response(operation, "415", "The Content-Type of the body is not JSON.");
    }
}

fn complete_operation(path: &str, operation: &mut Operation) {
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        body.content.iter_mut().for_each(remove_image_schema);
    }
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response {
            complete_response(status, response, path);
        }
    }
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter {
            parameter.schema.as_mut().map(remove_null);
        }
    }
}

fn complete_response(status: &str, response: &mut Response, path: &str) {
    for header in response.headers.values_mut() {
        if let RefOr::T(header) = header {
            header.schema.as_mut().map(remove_null);
        }
    }
    response.content.iter_mut().for_each(remove_image_schema);
    let mut add_header = |name: &str, about: &str, kind: Type| {
        let schema = ObjectBuilder::new().schema_type(kind).build();
        let header = HeaderBuilder::new().schema(Some(schema)).description(Some(about)).build();
        response.headers.insert(name.to_owned(), RefOr::T(header));
    };
    add_header("X-Request-Id", "Identifies this request in the log.", Type::String);
    if status == "429" {
        let policy = "The limits that were applied: `\"user\";q=600;w=60` allows 600 requests in 60 seconds.";
        add_header("RateLimit-Policy", policy, Type::String);
        let remaining = "What remains of each limit, and after how many seconds it is full again: `\"user\";r=0;t=1`.";
        add_header("RateLimit", remaining, Type::String);
    }
    if status == "429" || status == "503" {
        add_header("Retry-After", "Seconds to wait before the next attempt.", Type::Integer);
    }
    if status.starts_with('4') || status.starts_with('5') {
        let example = Problem::example(status).map(|problem| problem.document(path, EXAMPLE_REQUEST_ID));
        let example = example.and_then(|document| serde_json::from_slice(&document).ok());
        let schema = Ref::from_schema_name(ProblemDocument::name());
        let content = ContentBuilder::new().schema(Some(schema)).example(example).build();
        response.content.insert(problem::CONTENT_TYPE.to_owned(), content.into());
    }
}

const EXAMPLE_REQUEST_ID: &str = "req_7d3f0c1be2a94f658d1c0a9b8e7f6a5b";

/// The media type alone describes the bytes of an image.
fn remove_image_schema((media_type, content): (&String, &mut RefOr<Content>)) {
    if let (true, RefOr::T(content)) = (media_type.starts_with("image/"), content) {
        content.schema = None;
    }
}

/// Headers and parameters are text or absent; they cannot be `null`.
fn remove_null(schema: &mut RefOr<Schema>) {
    let RefOr::T(Schema::Object(object)) = schema else { return };
    if let SchemaType::Array(types) = &mut object.schema_type {
        types.retain(|kind| *kind != Type::Null);
        if let [kind] = types.as_slice() {
            object.schema_type = SchemaType::Type(kind.clone());
        }
    }
}

/// Adds the configured limits to the request schemas, and describes `userId` in all of them.
fn describe_configured_limits(api: &mut OpenApi, state: &GatewayState) {
    let config = state.submission().settings();
    let user_id = match state.0.auth {
        Auth::None => {
            "The calling user: 1 to 128 letters, digits and `_ . @ + -`. By default `?userId=`, else `local`."
        }
        Auth::Firebase(_) => "The token identifies the calling user: leave this out, or repeat the token's user id.",
    };
    let (limits, brands) = (&config.limits, &config.brand_limits);
    let Some(components) = api.components.as_mut() else { return };
    for (request, schema) in &mut components.schemas {
        let RefOr::T(Schema::Object(schema)) = schema else { continue };
        for (name, field) in &mut schema.properties {
            let RefOr::T(field) = field else { continue };
            match (request.as_str(), name.as_str(), field) {
                (_, "userId", Schema::Object(field)) if request.ends_with("Request") => {
                    field.description = Some(user_id.to_owned());
                }
                ("GenerateRequest", "prompt", Schema::Object(field)) => field.max_length = Some(limits.prompt_chars),
                ("GenerateRequest", "width" | "height", Schema::Object(field)) => {
                    field.minimum = Some(limits.min_side.into());
                    field.maximum = Some(limits.max_side.into());
                }
                ("GenerateRequest", "count", Schema::Object(field)) => field.maximum = Some(limits.max_count.into()),
                ("GenerateRequest", "styleId", Schema::Object(field)) => {
                    // Not an enumeration, because brands are styles too.
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
