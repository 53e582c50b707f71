//! The result of the check of one training image.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::brand::{CheckedImage, ImageCheck};

/// Whether an image can be used for training.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ImageCheck, example = json!({
    "uploadId": "upl_4kQ0b1xYc7ZpT2mN9sVd", "verdict": "too_small", "detail": "its short side has 300 px; 512 px are needed",
    "shortSide": 300, "needed": 512
}))]
pub(super) struct ImageCheckView {
    /// The upload, as in the request.
    upload_id: String,
    /// The path of the image within the archive, if the upload is an archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "posters/spring.png")]
    entry: Option<String>,
    /// `ok`, `missing`, `not_an_image`, `too_small`, `extreme_aspect`, `bad_caption` or `near_duplicate`.
    verdict: &'static str,
    /// An explanation for people.
    detail: String,
    /// For `too_small`: the short side, in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    short_side: Option<u32>,
    /// For `too_small`: the required short side, in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    needed: Option<u32>,
    /// For `near_duplicate`: the position of the similar image in this list.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    of: Option<usize>,
}

impl From<CheckedImage> for ImageCheckView {
    fn from(CheckedImage { upload, entry, verdict, .. }: CheckedImage) -> Self {
        let (name, short_side, needed, of) = match verdict {
            ImageCheck::Ok => ("ok", None, None, None),
            ImageCheck::Missing => ("missing", None, None, None),
            ImageCheck::NotAnImage { .. } => ("not_an_image", None, None, None),
            ImageCheck::TooSmall { short_side, needed } => ("too_small", Some(short_side), Some(needed), None),
            ImageCheck::ExtremeAspect => ("extreme_aspect", None, None, None),
            ImageCheck::BadCaption { .. } => ("bad_caption", None, None, None),
            ImageCheck::NearDuplicate { of } => ("near_duplicate", None, None, Some(of)),
        };
        Self { upload_id: upload.into(), entry, verdict: name, detail: verdict.detail(), short_side, needed, of }
    }
}
