//! `/uploads`: training images, and archives of them.

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
        openapi::UserIdParam,
        params::UploadPath,
        present::BaseUrl,
        problem::{InvalidField, Problem},
    },
    jobs::UploadTarget,
    media::SignedUpload,
};

/// A file to upload. Unknown fields are refused.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = UploadRequest, example = json!({
    "userId": "local", "fileName": "poster-1.jpg", "contentType": "image/jpeg", "size": 2_345_678
}))]
pub(in crate::gateway) struct UploadBody {
    user_id: Option<String>,
    /// The name of the file. It is checked, but not stored.
    #[schema(required = true, nullable = false, min_length = 1, max_length = 255)]
    file_name: Option<String>,
    /// `image/png`, `image/jpeg`, `image/webp`, or `application/zip` for an archive of images.
    #[schema(required = true, nullable = false)]
    content_type: Option<String>,
    /// The size in bytes.
    #[schema(required = true, nullable = false, value_type = u64, minimum = 1)]
    size: Option<WholeNumber>,
}

/// How to send the file.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UploadTarget)]
struct UploadTargetView {
    /// The id to pass in `trainingImages` of a training.
    #[schema(example = "upl_4kQ0b1xYc7ZpT2mN9sVd")]
    upload_id: String,
    /// Always `PUT`.
    #[schema(example = "PUT")]
    method: &'static str,
    /// The address to send the file to: this gateway, or the bucket. Anyone who knows it can upload until it expires.
    #[schema(example = "http://127.0.0.1:8080/uploads/upl_4kQ0b1xYc7ZpT2mN9sVd?userId=local")]
    upload_url: String,
    /// Send exactly these headers.
    headers: BTreeMap<&'static str, String>,
    /// Send the file before this time.
    expires_at: Timestamp,
}

/// An uploaded image.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UploadedImage {
    #[schema(example = "upl_4kQ0b1xYc7ZpT2mN9sVd")]
    upload_id: String,
    /// Pixels of the stored image, in upright orientation.
    #[schema(example = 2048)]
    width: u32,
    /// Pixels of the stored image, in upright orientation.
    #[schema(example = 1365)]
    height: u32,
}

/// An uploaded archive.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UploadedArchive {
    #[schema(example = "upl_4kQ0b1xYc7ZpT2mN9sVd")]
    upload_id: String,
    /// The number of images in it, usable or not: `POST /train-brand` checks each of them.
    #[schema(example = 12)]
    pictures: usize,
}

/// The uploaded file.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the response")]
enum UploadResponse {
    /// An image.
    Image(UploadedImage),
    /// An archive.
    Archive(UploadedArchive),
}

/// Create an upload
///
/// Returns the address for one training image, or for a zip archive of training images. An upload that no brand uses is
/// removed after a day. If images are stored in a bucket, `uploadUrl` points to the bucket: it accepts one file of the
/// announced type and size and requires no other credentials. `POST /train-brand`, also with `dryRun=true`, then checks
/// whether the file is a usable image.
#[utoipa::path(
    post,
    operation_id = "offerUpload",
    path = "/uploads",
    tag = "brands",
    params(UserIdParam),
    request_body = UploadBody,
    responses(
        (status = 201, description = "Send the file as described.", body = UploadTargetView),
        (status = 422, description = "Fields are invalid; `errors` lists all of them."),
    )
)]
pub(in crate::gateway) async fn create(
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
            let errors = announced.err().unwrap_or_default().into_iter().map(InvalidField::from);
            return Err(Problem::invalid(user.err().into_iter().chain(errors).collect()));
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
    let target = UploadTargetView { upload_id: id.into(), method: "PUT", upload_url, headers, expires_at };
    Ok((StatusCode::CREATED, Json(target)).into_response())
}

/// Upload a file
///
/// A PNG, JPEG or WebP; the first bytes decide, not the `Content-Type`. The image is decoded, rotated upright, reduced to at
/// most 4 megapixels, and encoded again, which removes metadata and trailing data. The same file may be sent again; a
/// different file needs a new upload.
///
/// With `Content-Type: application/zip`, the file is an archive of images at the top level or one folder deep. A file
/// `name.txt` beside an image must be a caption of at most 1000 characters. Hidden files are ignored; every other file is
/// treated as an image. The whole archive is refused if it contains links, encrypted entries, nested archives, paths
/// that lead outside, duplicate names or more than 1000 entries, or if its content exceeds 500 MB or 100 times its size.
#[utoipa::path(
    put,
    operation_id = "putUpload",
    path = "/uploads/{id}",
    tag = "brands",
    params(
        ("id" = String, Path, description = "The id of the upload.", example = "upl_4kQ0b1xYc7ZpT2mN9sVd"),
        UserIdParam,
    ),
    request_body(content(
        (Vec<u8> = "image/png"), (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/webp"), (Vec<u8> = "application/zip")
    )),
    responses(
        (status = 200, description = "The file is stored.", body = UploadResponse),
        (status = 400, description = "The file ended early."),
        (status = 404, description = "There is no such upload."),
        (status = 408, description = "The file did not arrive in time."),
        (status = 409, description = "A different file was uploaded before."),
        (status = 413, description = "The file is too large."),
        (status = 422, description = "The file is not a usable image (`unusable_picture`): not a PNG, JPEG or WebP, \
            damaged, animated, or with too many pixels. Or it is not a usable archive (`unusable_archive`), or the \
            user id is invalid."),
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
        // Held until the archive is unpacked: limits the archives on the disk.
        let permit = uploads.archive_permit().await?;
        let file = body::spooled(&gateway, &parts.headers, body, limit).await?;
        let pictures = uploads.receive_archive(&user, &id, file).await?.count();
        drop(permit);
        return Ok(Json(UploadedArchive { upload_id: id.into(), pictures }).into_response());
    }
    let limit = limits.max_bytes;
    body::check_length(&parts.headers, limit)?;
    // Held until the picture is stored: limits the files in memory.
    let permit = uploads.receive_permit().await?;
    let bytes = body::file(&gateway, &parts.headers, body, limit).await?;
    let facts = uploads.receive_picture(&user, &id, bytes).await?.facts;
    drop(permit);
    Ok(Json(UploadedImage { upload_id: id.into(), width: facts.width, height: facts.height }).into_response())
}
