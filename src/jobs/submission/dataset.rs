//! Check the images of a training before anything is held or copied.

use super::{
    Submission, SubmitError,
    uploads::{UploadRecord, UploadedPicture},
};
use crate::domain::{
    brand::{CheckedImage, ImageCheck, TrainOrder, TrainRequest, UploadContent, check_images},
    credits::Credits,
    field_error::FieldError,
    ids::UserId,
};

/// A check of each image, in the order of the request and, within an archive, of the names.
pub type ImageChecks = Vec<CheckedImage>;

/// The checks of all images of a training, and its price.
#[derive(Debug, Clone)]
pub struct DatasetCheck {
    /// The check of each image.
    pub verdicts: ImageChecks,
    /// The price of the training.
    pub price: Credits,
    pub(super) order: TrainOrder,
    pub(super) uploads: Vec<Option<UploadedPicture>>,
}

impl DatasetCheck {
    /// Whether every image can be used.
    pub fn is_fit(&self) -> bool {
        self.verdicts.iter().all(|judged| judged.verdict == ImageCheck::Ok)
    }
}

/// The images of a request, collected from its uploads; one entry per image in each list.
#[derive(Default)]
struct Images {
    checked: Vec<UploadContent>,
    uploads: Vec<Option<UploadedPicture>>,
    /// The position in the request, and the name within an archive.
    names: Vec<(usize, Option<String>)>,
}

impl Images {
    fn push(
        &mut self,
        position: usize,
        entry: Option<String>,
        checked: UploadContent,
        upload: Option<UploadedPicture>,
    ) {
        self.checked.push(checked);
        self.uploads.push(upload);
        self.names.push((position, entry));
    }
}

impl Submission {
    /// Checks the images of a training without submitting it.
    pub async fn check_dataset(&self, user: &UserId, request: &TrainRequest) -> Result<DatasetCheck, SubmitError> {
        let order = request.validate(&self.settings.brand_limits).map_err(SubmitError::Invalid)?;
        self.check_order(user, order).await
    }

    pub(super) async fn check_order(&self, user: &UserId, order: TrainOrder) -> Result<DatasetCheck, SubmitError> {
        let records = self.uploads.inspect_all(user, &order.uploads).await?;
        let (mut images, mut errors) = (Images::default(), Vec::new());
        for (n, record) in records.into_iter().enumerate() {
            match record {
                Some(UploadRecord::Picture(picture)) => {
                    images.push(n, None, UploadContent::Picture(picture.facts), Some(picture));
                }
                Some(UploadRecord::RefusedPicture { refused }) => {
                    images.push(n, None, UploadContent::NotAnImage(refused), None);
                }
                Some(UploadRecord::Archive(archive)) => {
                    for entry in archive.pictures {
                        let (checked, upload) = entry.to_check();
                        images.push(n, Some(entry.name), checked, upload);
                    }
                }
                Some(UploadRecord::RefusedArchive { refused_archive }) => {
                    errors.push(FieldError::new(&format!("trainingImages/{n}"), refused_archive));
                }
                None => images.push(n, None, UploadContent::Missing, None),
            }
        }
        let Images { checked, uploads, names } = images;
        // A missing upload may be an archive, so the number of images is not known then.
        let is_complete = errors.is_empty() && !checked.contains(&UploadContent::Missing);
        let limits = &self.settings.brand_limits;
        if is_complete || checked.len() > limits.max_images {
            errors.extend(limits.check_count(checked.len()));
        }
        if !errors.is_empty() {
            return Err(SubmitError::Invalid(errors));
        }
        let verdicts = check_images(&checked, limits).into_iter().zip(names).map(|(verdict, (position, entry))| {
            CheckedImage { upload: order.uploads[position].clone(), position, entry, verdict }
        });
        let verdicts = verdicts.collect();
        Ok(DatasetCheck { verdicts, price: self.settings.prices.training, order, uploads })
    }
}

/// The error that lists every image that cannot be used.
pub(super) fn unfit(verdicts: ImageChecks) -> SubmitError {
    let field_error = |CheckedImage { position, entry, verdict, .. }: &CheckedImage| {
        let prefix = entry.as_ref().map(|entry| format!("{entry}: ")).unwrap_or_default();
        let error = || FieldError::new(&format!("trainingImages/{position}"), prefix + &verdict.detail());
        (*verdict != ImageCheck::Ok).then(error)
    };
    SubmitError::Unfit { errors: verdicts.iter().filter_map(field_error).collect(), verdicts }
}
