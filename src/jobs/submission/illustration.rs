//! Submit a request for images.

use super::{Submission, SubmissionSettings, SubmitError, Submitted, Submitter};
use crate::{
    domain::{
        field_error::FieldError,
        ids::{JobId, UserId},
        job::Work,
        kind::JobKind,
        request::{GenerateRequest, IllustrationSpec},
    },
    jobs::{queries::style_of_brand, visibility::is_visible},
};

impl Submission {
    /// Accepts a request for images. When this returns `Ok`, the job and its hold are durable.
    pub async fn submit_illustration(
        &self,
        request: &GenerateRequest,
        caller: Submitter,
    ) -> Result<Submitted, SubmitError> {
        let user = &caller.user;
        let spec = self.validate_illustration(user, request).await?;
        let id = self.job_id(JobKind::Illustration, &caller);
        let (team, request_hash) = (self.teams.assumed_team(user), spec.hash(user));
        self.accept(caller, id, team, Work::Illustration(spec), request_hash).await
    }

    /// All field errors of a request, for a caller that is not identified. The brand is not checked.
    pub fn illustration_errors(&self, request: &GenerateRequest) -> Vec<FieldError> {
        let SubmissionSettings { limits, catalogue, .. } = &self.settings;
        let mut errors = request.validate(limits, catalogue, None).err().unwrap_or_default();
        if request.style_id.as_deref().is_some_and(names_a_brand) {
            errors.retain(|error| error.pointer != "/styleId");
        }
        errors
    }

    /// The validated request. The store is read only when the style is a brand.
    async fn validate_illustration(
        &self,
        user: &UserId,
        request: &GenerateRequest,
    ) -> Result<IllustrationSpec, SubmitError> {
        let SubmissionSettings { limits, catalogue, .. } = &self.settings;
        let unknown_style = request.style_id.as_deref().filter(|id| catalogue.find(id).is_none());
        let Some(brand) = unknown_style.filter(|id| names_a_brand(id)) else {
            return request.validate(limits, catalogue, None).map_err(SubmitError::Invalid);
        };
        let store = &self.writer.store;
        let team = self.accounts.team_of(user).await?;
        let id = brand.parse::<JobId>().map_err(|_| SubmitError::NoSuchBrand)?;
        let job = store.get(&id).await?.map(|job| job.value);
        let job = job.filter(|job| is_visible(job, user, team.as_ref())).ok_or(SubmitError::NoSuchBrand)?;
        let style = style_of_brand(&job);
        match (request.validate(limits, catalogue, style.as_ref()), style) {
            (Ok(spec), Some(_)) => Ok(spec),
            (Err(errors), Some(_)) => Err(SubmitError::Invalid(errors)),
            (validated, None) => {
                let mut errors = validated.err().unwrap_or_default();
                errors.retain(|error| error.pointer != "/styleId");
                let status = job.status().shown_as(job.kind());
                let detail = format!("this brand is {status}; only a ready one can be used");
                errors.push(FieldError::new("styleId", detail));
                Err(SubmitError::Invalid(errors))
            }
        }
    }
}

fn names_a_brand(style_id: &str) -> bool {
    JobKind::of_id(style_id) == Some(JobKind::Brand)
}
