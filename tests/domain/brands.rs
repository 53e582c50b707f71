//! Trainings: valid requests, and the check of their pictures.

use mediaforge::domain::{
    brand::{BrandLimits, ImageCheck, ImageFacts, TrainRequest, UploadContent, check_images},
    upload::UploadId,
};
use proptest::prelude::*;

const LIMITS: BrandLimits = BrandLimits {
    min_images: 5,
    max_images: 50,
    max_colors: 5,
    name_chars: 80,
    min_side: 512,
    max_aspect: 3,
    min_difference: 6,
};

fn request(images: usize) -> TrainRequest {
    TrainRequest {
        brand_name: Some(" Acme ".into()),
        brand_colors: Some(vec!["#ff6600".into()]),
        training_images: Some((0..images).map(|n| format!("upl_{n:020}")).collect()),
    }
}

#[test]
fn all_invalid_fields_of_a_training_are_reported_at_once() {
    let wrong = TrainRequest {
        brand_name: Some("  ".into()),
        brand_colors: Some(["#ff6600", "orange", "#FF6600", "#1", "#2", "#3"].map(String::from).to_vec()),
        training_images: Some(vec!["upl_00000000000000000000".into(), "../x".into()]),
    };
    let errors = wrong.validate(&LIMITS).expect_err("invalid");
    let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
    let expected = [
        "/brandName",
        "/brandColors",
        "/brandColors/1",
        "/brandColors/2",
        "/brandColors/3",
        "/brandColors/4",
        "/brandColors/5",
        "/trainingImages/1",
    ];
    assert_eq!(pointers, expected);
    assert_eq!(request(5).validate(&LIMITS).expect("valid").name, "Acme");
    // A single upload may be an archive of many pictures.
    assert!(request(1).validate(&LIMITS).is_ok());
    assert!(request(0).validate(&LIMITS).is_err() && request(51).validate(&LIMITS).is_err());
    let counts = [4, 5, 50, 51].map(|count| LIMITS.check_count(count).is_none());
    assert_eq!(counts, [false, true, true, false]);
}

#[test]
fn each_picture_is_checked() {
    let picture = |width, height, fingerprint| UploadContent::Picture(ImageFacts { width, height, fingerprint });
    let uploads = [
        picture(800, 600, 0xffff_0000),
        UploadContent::Missing,
        UploadContent::NotAnImage("an animation".to_owned()),
        picture(2000, 511, 0),
        picture(2000, 600, 0),
        picture(1024, 1024, 0xffff_0001),
        picture(1024, 1024, 0x0000_ffff),
        UploadContent::BadCaption("not UTF-8".to_owned()),
    ];
    let expected = [
        ImageCheck::Ok,
        ImageCheck::Missing,
        ImageCheck::NotAnImage { why: "an animation".to_owned() },
        ImageCheck::TooSmall { short_side: 511, needed: 512 },
        ImageCheck::ExtremeAspect,
        ImageCheck::NearDuplicate { of: 0 },
        ImageCheck::Ok,
        ImageCheck::BadCaption { why: "not UTF-8".to_owned() },
    ];
    assert_eq!(check_images(&uploads, &LIMITS), expected);
}

proptest! {
    #[test]
    fn only_fit_pictures_are_ok(sides in proptest::collection::vec((1..5000_u32, 1..5000_u32, any::<u64>()), 0..60)) {
        let uploads: Vec<_> = sides
            .iter()
            .map(|(width, height, fingerprint)| {
                UploadContent::Picture(ImageFacts { width: *width, height: *height, fingerprint: *fingerprint })
            })
            .collect();
        let verdicts = check_images(&uploads, &LIMITS);
        prop_assert_eq!(verdicts.len(), uploads.len());
        let fit: Vec<_> = sides.iter().zip(&verdicts).filter(|(_, verdict)| **verdict == ImageCheck::Ok).collect();
        for (n, ((width, height, print), _)) in fit.iter().enumerate() {
            prop_assert!(width.min(height) >= &512 && width.max(height) <= &(3 * width.min(height)));
            prop_assert!(fit[..n].iter().all(|((_, _, other), _)| (print ^ other).count_ones() >= 6));
        }
    }

    #[test]
    fn any_text_is_an_upload_id_or_an_error(text in ".{0,30}") {
        if let Ok(id) = text.parse::<UploadId>() {
            prop_assert_eq!(id.as_str(), text);
        }
    }
}
