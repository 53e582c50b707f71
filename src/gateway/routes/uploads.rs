//! `/uploads`: where pictures to learn from are put, and archives of them.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use url::form_urlencoded;
use utoipa::ToSchema;

use crate::{
    domain::{Timestamp, upload::UploadRequest},
    gateway::{
        GatewayState,
        auth::{Caller, Credentials},
        body::{self, WholeNumber},
        params::UploadPath,
        present::BaseUrl,
        problem::{Problem, WrongField},
    },
    jobs::UploadTarget,
    media::SignedUpload,
};

/// A file to come. Unknown fields are refused.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = UploadRequest, example = json!({
    "userId": "local", "fileName": "poster-1.jpg", "contentType": "image/jpeg", "size": 2_345_678
}))]
pub(in crate::gateway) struct UploadBody {
    /// Who asks. Absent: `?userId=`, else `local`.
    user_id: Option<String>,
    /// What the file is called. Only its length is looked at; it is not kept.
    #[schema(required = true, nullable = false, min_length = 1, max_length = 255)]
    file_name: Option<String>,
    /// `image/png`, `image/jpeg`, `image/webp` or, for an archive of pictures, `application/zip`.
    #[schema(required = true, nullable = false)]
    content_type: Option<String>,
    /// Bytes.
    #[schema(required = true, nullable = false, value_type = u64, minimum = 1)]
    size: Option<WholeNumber>,
}

/// Where to send the file, and how.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UploadTarget)]
struct UploadTargetBody {
    /// What `trainingImages` of a training names.
    #[schema(example = "upl_4kQ0b1xYc7ZpT2mN9sVd")]
    upload_id: String,
    /// Always `PUT`.
    #[schema(example = "PUT")]
    method: &'static str,
    /// Where to: this gateway, or the bucket itself. The address is a secret until it expires.
    #[schema(example = "http://127.0.0.1:8080/uploads/upl_4kQ0b1xYc7ZpT2mN9sVd?userId=local")]
    upload_url: String,
    /// Headers to send along, exactly these.
    headers: BTreeMap<&'static str, String>,
    /// Send it before.
    expires_at: Timestamp,
}

/// A picture that was taken.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Uploaded)]
struct Taken {
    #[schema(example = "upl_4kQ0b1xYc7ZpT2mN9sVd")]
    upload_id: String,
    /// Pixels of what is kept, upright.
    #[schema(example = 2048)]
    width: u32,
    /// Pixels of what is kept, upright.
    #[schema(example = 1365)]
    height: u32,
}

/// An archive that was taken.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UploadedArchive)]
struct TakenArchive {
    #[schema(example = "upl_4kQ0b1xYc7ZpT2mN9sVd")]
    upload_id: String,
    /// Pictures in it, fit or not: `POST /train-brand` has a verdict on each.
    #[schema(example = 12)]
    pictures: usize,
}

/// What was taken.
#[derive(ToSchema)]
#[schema(as = UploadResponse)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what is sent")]
enum UploadResponse {
    /// A picture.
    Picture(Taken),
    /// An archive.
    Archive(TakenArchive),
}

/// Ask for a place to put a picture
///
/// For each picture that a brand is to learn from, or for a zip archive of them. A picture that no brand uses is removed after a day. Where pictures are
/// kept in a bucket, `uploadUrl` leads there, takes one file of the announced type and size, and needs no other
/// credentials; whether the file is a usable picture is then said by `POST /train-brand`, with `dryRun=true` too.
#[utoipa::path(
    post,
    operation_id = "offerUpload",
    path = "/uploads",
    tag = "brands",
    params(("userId" = Option<String>, Query, description = "The caller, when the body names none.")),
    request_body = UploadBody,
    responses(
        (status = 201, description = "Send the file as it says.", body = UploadTargetBody),
        (status = 400, description = "Not JSON, a wrong type, or an unknown or repeated field."),
        (status = 408, description = "The body did not arrive in time."),
        (status = 413, description = "The body is too large."),
        (status = 415, description = "The body is not JSON by its Content-Type."),
        (status = 422, description = "Fields are invalid; all of them are listed."),
    )
)]
pub(in crate::gateway) async fn offer(
    State(gateway): State<GatewayState>,
    credentials: Credentials,
    base: BaseUrl,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body: UploadBody = body::json(&gateway, &parts.headers, body).await?;
    let UploadBody { user_id, file_name, content_type, size } = body;
    let request = UploadRequest { file_name, content_type, size: size.map(|WholeNumber(size)| size) };
    let announced = request.validate(&gateway.submission().settings().uploads.limits);
    let (user, announced) = match (credentials.user(user_id.as_deref())?, announced) {
        (Ok(user), Ok(announced)) => (user, announced),
        (user, announced) => {
            let wrong = announced.err().unwrap_or_default().into_iter().map(WrongField::from);
            return Err(Problem::invalid(user.err().into_iter().chain(wrong).collect()));
        }
    };
    credentials.admit(&gateway, &user, &parts.extensions)?;
    let UploadTarget { id, content_type, expires_at, direct } =
        gateway.submission().uploads().offer(&user, announced).await?;
    let (upload_url, headers) = if let Some(SignedUpload { url, headers, .. }) = direct {
        (url, headers)
    } else {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("userId", user.as_str()).finish();
        let headers = [("Content-Type", content_type.to_owned())].into();
        (base.link(&format!("/uploads/{id}?{query}")), headers)
    };
    let answer = UploadTargetBody { upload_id: id.into(), method: "PUT", upload_url, headers, expires_at };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// Put a picture
///
/// A PNG, JPEG or WebP, whatever its `Content-Type` says: what counts is its first bytes. It is decoded, brought
/// upright, reduced to 4 megapixels at most, and encoded anew, so metadata and anything behind its end are gone. The
/// same file may be sent again; another one needs another place.
///
/// With `Content-Type: application/zip` an archive of pictures, at the top or one folder deep; `name.txt` beside a picture
/// must be a caption of at most 1000 characters. Hidden files are left out; everything else is looked at as a picture. An
/// archive with links, encrypted or nested parts, names that lead out of it or occur twice, of more than 1000 entries, or
/// that comes to more than 500 MB or 100 times its size, is refused as a whole.
#[utoipa::path(
    put,
    operation_id = "putUpload",
    path = "/uploads/{id}",
    tag = "brands",
    params(
        ("id" = String, Path, description = "The upload's id.", example = "upl_4kQ0b1xYc7ZpT2mN9sVd"),
        ("userId" = Option<String>, Query, description = "The caller; `local` when absent."),
    ),
    request_body(content(
        (Vec<u8> = "image/png"), (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/webp"), (Vec<u8> = "application/zip")
    )),
    responses(
        (status = 200, description = "It is kept.", body = UploadResponse),
        (status = 400, description = "The file ended early."),
        (status = 404, description = "That is no upload's id."),
        (status = 408, description = "The file did not arrive in time."),
        (status = 409, description = "Another file was sent there before."),
        (status = 413, description = "The file is too large."),
        (status = 422, description = "The file is no usable picture (`unusable_picture`): no PNG, JPEG or WebP, \
            damaged, an animation, or of too many pixels. Or no usable archive (`unusable_archive`), or the user id is \
            invalid."),
        (status = 503, description = "A backend cannot be reached."),
    )
)]
pub(in crate::gateway) async fn put(
    State(gateway): State<GatewayState>,
    Caller(user): Caller,
    UploadPath(id): UploadPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let limits = gateway.submission().settings().uploads.limits;
    let uploads = gateway.submission().uploads();
    if body::is_archive(&parts.headers) {
        let limit = limits.max_archive_bytes;
        body::check_length(&parts.headers, limit)?;
        // Held until it is unpacked: so many archives lie on the disk at once.
        let permit = uploads.archive_permit().await?;
        let file = body::spooled(&gateway, &parts.headers, body, limit).await?;
        let pictures = uploads.receive_archive(&user, &id, file).await?.count();
        drop(permit);
        return Ok(Json(TakenArchive { upload_id: id.into(), pictures }).into_response());
    }
    let limit = limits.max_bytes;
    body::check_length(&parts.headers, limit)?;
    // Held until the picture is kept: files in memory are few, however many clients send.
    let permit = uploads.receive_permit().await?;
    let bytes = body::file(&gateway, &parts.headers, body, limit).await?;
    let facts = uploads.receive_picture(&user, &id, bytes).await?.facts;
    drop(permit);
    Ok(Json(Taken { upload_id: id.into(), width: facts.width, height: facts.height }).into_response())
}
