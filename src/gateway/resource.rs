//! The two kinds of job as resources of the API.

use utoipa::ToSchema;

use super::present::{BrandView, IllustrationView};
use crate::domain::kind::JobKind;

/// A kind of job as a resource. The implementing type is the view that clients receive.
pub(super) trait JobResource: ToSchema + Send + Sync + 'static {
    const KIND: JobKind;
    /// The words of this kind in the API description.
    const WORDING: Wording;
}

impl JobResource for IllustrationView<'static> {
    const KIND: JobKind = JobKind::Illustration;
    const WORDING: Wording = Wording {
        a_noun: "an illustration",
        owned: "the caller's illustrations",
        not_found: "The caller has no such illustration.",
        finished: "completed",
        sharing: "",
        deletion: "",
        example_id: "ill_4kQ0b1xYc7ZpT2mN9sVd",
        example_event: "event: job.queued\nid: 1\ndata: {\"illustrationId\":\"ill_4kQ0b1xYc7ZpT2mN9sVd\",\
            \"status\":\"queued\",\"version\":1}\n\n",
        events: "",
    };
}

impl JobResource for BrandView<'static> {
    const KIND: JobKind = JobKind::Brand;
    const WORDING: Wording = Wording {
        a_noun: "a brand",
        owned: "the brands of the caller and of the caller's team",
        not_found: "Neither the caller nor the caller's team has such a brand.",
        finished: "ready",
        sharing: " Every member of the brand's team may do this.",
        deletion: " Illustrations in the style of the brand are kept.",
        example_id: "brd_4kQ0b1xYc7ZpT2mN9sVd",
        example_event: "event: job.processing\nid: 2\ndata: {\"brandId\":\"brd_4kQ0b1xYc7ZpT2mN9sVd\",\
            \"status\":\"training\",\"version\":2}\n\n",
        events: " The event names are the same for both kinds of job: `job.processing` means that the `status` is \
            `training`, and `job.completed` that it is `ready`.",
    };
}

/// The words of one kind of job, as complete phrases or sentences.
pub(super) struct Wording {
    /// The noun with its article.
    pub a_noun: &'static str,
    /// The jobs that a caller sees.
    pub owned: &'static str,
    /// The description of a 404.
    pub not_found: &'static str,
    /// The status of a job that succeeded.
    pub finished: &'static str,
    /// A sentence about who else may change such a job.
    pub sharing: &'static str,
    /// A sentence about what a deletion leaves in place.
    pub deletion: &'static str,
    pub example_id: &'static str,
    pub example_event: &'static str,
    /// A sentence about the names of events.
    pub events: &'static str,
}
