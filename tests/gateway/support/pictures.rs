//! Test pictures, valid and malicious, and brands made from them.

use std::io::Cursor;

use axum::{body::Body, http::Method};
use bytes::Bytes;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use mediaforge::{
    domain::{brand::TrainedBrand, clock::Clock as _, job::Output, stored_image::StoredImage},
    media::MediaFormat,
};
use serde_json::{Value, json};

use super::{Response, World, request};

/// A picture of random blocks that is different for each seed.
pub fn blocks(seed: u64, width: u32, height: u32) -> DynamicImage {
    let shade = |x: u32, y: u32| {
        let n = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(x * 9 / width * 31 + y * 8 / height);
        let n = (n ^ (n >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let [r, g, b, ..] = (n ^ (n >> 27)).to_le_bytes();
        Rgb([r, g, b])
    };
    DynamicImage::ImageRgb8(RgbImage::from_fn(width, height, shade))
}

pub fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A PNG chunk with a valid checksum.
pub fn chunk(kind: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for byte in kind.iter().chain(data) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    let length = u32::try_from(data.len()).unwrap();
    [&length.to_be_bytes(), &kind[..], data, &(!crc).to_be_bytes()].concat()
}

impl World {
    /// Creates an upload; returns its id and its path.
    pub async fn create_upload(&self, user: &str) -> (String, String) {
        let body = json!({ "userId": user, "fileName": "a.png", "contentType": "image/png", "size": 1000 });
        let answer = self.post("/uploads", &body).await;
        assert_eq!(answer.status, 201, "{}", answer.json());
        let answer = answer.json();
        let url: url::Url = answer["uploadUrl"].as_str().unwrap().parse().unwrap();
        (answer["uploadId"].as_str().unwrap().to_owned(), format!("{}?{}", url.path(), url.query().unwrap()))
    }

    pub async fn put(&self, path: &str, bytes: impl Into<Bytes>) -> Response {
        self.send(request(Method::PUT, path).body(Body::from(bytes.into())).unwrap()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Response {
        self.post_with(path, body, &[]).await
    }

    pub async fn post_with(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Response {
        let request = request(Method::POST, path).header("content-type", "application/json");
        self.send(super::with(request, headers).body(Body::from(body.to_string())).unwrap()).await
    }

    /// Uploads a picture and returns the upload's id.
    pub async fn upload(&self, user: &str, image: &DynamicImage) -> String {
        let (id, path) = self.create_upload(user).await;
        let answer = self.put(&path, encoded(image, ImageFormat::Png)).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        id
    }

    /// Five uploads that can be used for training.
    pub async fn upload_five(&self, user: &str) -> Vec<String> {
        let mut ids = Vec::new();
        for seed in 0..5 {
            ids.push(self.upload(user, &blocks(seed, 160, 130)).await);
        }
        ids
    }

    /// Grants credits to an account, `users/…` or `teams/…`.
    pub async fn grant(&self, account: &str, amount: u64) {
        use mediaforge::domain::credits::LedgerEntry;
        let entry = LedgerEntry::grant(account.parse().unwrap(), "test", amount, self.clock.now());
        self.accounts.adjust(&entry).await.unwrap();
    }

    pub async fn join(&self, user: &str, team: &str) {
        self.accounts.set_team(&user.parse().unwrap(), Some(&team.parse().unwrap())).await.unwrap();
    }

    /// Submits a training; the user must have enough credits.
    pub async fn queued_brand(&self, user: &str) -> String {
        let images = self.upload_five(user).await;
        let body = json!({
            "userId": user, "brandName": "Acme", "brandColors": ["#ff6600"], "trainingImages": images
        });
        let answer = self.post("/train-brand", &body).await;
        assert_eq!(answer.status, 202, "{}", answer.json());
        answer.json()["brandId"].as_str().unwrap().to_owned()
    }

    /// Completes the training as a worker would.
    pub async fn complete_brand(&self, id: &str, user: &str) {
        let sample = format!("brands/{user}/{id}/1-2-0.png");
        self.media
            .put(&sample.parse().unwrap(), MediaFormat::Png, encoded(&blocks(9, 32, 32), ImageFormat::Png).into())
            .await
            .unwrap();
        let trained = TrainedBrand {
            palette: vec!["#ff6600".parse().unwrap(), "#1b2a41".parse().unwrap()],
            model_path: None,
            samples: vec![StoredImage { key: sample, width: 32, height: 32, bytes: 100, sha256: "0".repeat(64) }],
            cost_micro_usd: 1_850_000,
            training_ms: 30_000,
        };
        let now = self.clock.now();
        self.change(id, |job| job.complete(now, Output::Brand(trained))).await;
    }
}
