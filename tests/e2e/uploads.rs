//! Malicious uploads to the real binary: each is refused with a reason and uses little memory.

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};

use crate::{
    archives::{Item, archive},
    support::{System, Topology, answer, text},
};

/// The allowed peak memory of the process in bytes.
#[cfg(target_os = "linux")]
const PEAK: u64 = 150 << 20;

/// The checksum of a PNG chunk (bitwise CRC-32: slow but short).
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

fn chunk(kind: &[u8], data: &[u8]) -> Vec<u8> {
    let named = [kind, data].concat();
    let length = u32::try_from(data.len()).expect("a short chunk").to_be_bytes();
    [length.as_slice(), &named, &crc(&named).to_be_bytes()].concat()
}

/// A PNG that declares `side` × `side` pixels but contains almost no data.
fn bomb(side: u32) -> Vec<u8> {
    let header = [side.to_be_bytes().as_slice(), &side.to_be_bytes(), &[8, 6, 0, 0, 0]].concat();
    // An empty deflate stream; a careless decoder would allocate all the pixels.
    let pixels = [0x78, 0x9c, 0x03, 0x00, 0x00, 0x00, 0x00, 0x01];
    [b"\x89PNG\r\n\x1a\n".as_slice(), &chunk(b"IHDR", &header), &chunk(b"IDAT", &pixels), &chunk(b"IEND", b"")].concat()
}

fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let shade = |n: u32| u8::try_from(n % 251).expect("below 256");
    let pixels = RgbImage::from_fn(width, height, |x, y| Rgb([shade(x), shade(y), shade(x + y)]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(pixels).write_to(&mut bytes, format).expect("encoded");
    bytes.into_inner()
}

async fn upload(system: &System, name: &str, bytes: Vec<u8>) -> (u16, Value) {
    answer(put(system, name, bytes).await).await
}

async fn put(system: &System, name: &str, bytes: Vec<u8>) -> reqwest::RequestBuilder {
    let request = json!({ "userId": "ada", "fileName": name, "contentType": "image/png", "size": 1000 });
    let (status, target) = system.post("/uploads", &request).await;
    assert_eq!(status, 201, "{target}");
    system.client.put(text(&target, "uploadUrl")).header("content-type", "image/png").body(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn malicious_uploads_are_refused_with_a_reason_and_use_little_memory() {
    let system = System::start(Topology::OneProcess, &[]).await;
    let png = picture(600, 600, ImageFormat::Png);
    let jpeg = picture(600, 600, ImageFormat::Jpeg);
    let hostile: [(&str, Vec<u8>); 9] = [
        ("a bomb of 3.6 gigapixels", bomb(60_000)),
        ("a bomb of 4 gigapixels a side", bomb(u32::MAX)),
        ("just above the limit of pixels", bomb(6_400)),
        ("within the limit, but empty", bomb(6_300)),
        ("a page", b"<html><script>alert(1)</script></html>".to_vec()),
        ("a vector drawing", b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec()),
        ("nothing", Vec::new()),
        ("half a PNG", png[..png.len() / 2].to_vec()),
        ("half a JPEG", jpeg[..jpeg.len() / 2].to_vec()),
    ];
    for (what, bytes) in hostile {
        let (status, problem) = upload(&system, "../../etc/passwd", bytes).await;
        assert_eq!((status, problem["success"].as_bool()), (422, Some(false)), "{what}: {problem}");
        assert!(!text(&problem, "detail").is_empty(), "{what}: {problem}");
    }
    let name = json!({ "fileName": "a\r\nSet-Cookie: a=b", "contentType": "image/png", "size": 1 });
    assert_eq!(system.post("/uploads", &name).await.0, 422);
    // The response comes before the last byte is sent, so the client may find the connection closed.
    let huge = put(&system, "huge.png", vec![0x89; 30 << 20]).await.send().await;
    assert!(huge.is_err() || huge.is_ok_and(|answer| answer.status() == 413), "declared as 1,000 bytes, sent 30 MiB");

    // Data after the end of a picture is dropped, and concurrent uploads are decoded one after the other.
    let polyglot = [png, b"PK\x03\x04 and a zip behind it".repeat(1000)].concat();
    let uploads = (0..8).map(|n| upload(&system, "poster.png", [polyglot.clone(), vec![n]].concat()));
    for (status, taken) in futures::future::join_all(uploads).await {
        assert_eq!((status, taken["width"].as_u64(), taken["height"].as_u64()), (200, Some(600), Some(600)), "{taken}");
    }
    #[cfg(target_os = "linux")]
    assert!(system.peak_memory() < PEAK, "{} MiB", system.peak_memory() >> 20);
    system.finish().await;
}

async fn send_archive(system: &System, bytes: Vec<u8>) -> (u16, Value) {
    let request = json!({ "userId": "ada", "fileName": "set.zip", "contentType": "application/zip", "size": 1000 });
    let (status, target) = system.post("/uploads", &request).await;
    assert_eq!(status, 201, "{target}");
    answer(system.client.put(text(&target, "uploadUrl")).header("content-type", "application/zip").body(bytes)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn malicious_archives_use_little_memory() {
    let system = System::start(Topology::OneProcess, &[]).await;
    let zeros = Item::deflated("zeros.png", &vec![0; 19 << 20]);
    let pad = Item::stored(".pad", vec![7; 2 << 20]);
    // Within the limits, but too large to hold all pictures in memory at once.
    let mut heavy: Vec<_> = (0..8).map(|n| zeros.clone().named(&format!("{n}.png"))).collect();
    heavy.push(pad.clone());
    let (status, taken) = send_archive(&system, archive(&heavy)).await;
    assert_eq!((status, taken["pictures"].as_u64()), (200, Some(8)), "{taken}");
    // Beyond the limits, both declared and actual.
    let bombs = [
        archive(std::slice::from_ref(&zeros)),
        archive(&(0..40).map(|n| zeros.clone().named(&format!("{n}.png"))).collect::<Vec<_>>()),
        archive(&[pad, zeros.claiming(100)]),
    ];
    for (bomb, reason) in
        bombs.into_iter().zip(["times its size", "more than 500000000 bytes", "does not have the size"])
    {
        let (status, problem) = send_archive(&system, bomb).await;
        assert_eq!((status, text(&problem, "code").as_str()), (422, "unusable_archive"), "{problem}");
        assert!(text(&problem, "detail").contains(reason), "{reason}: {problem}");
    }
    // A large archive is on the disk while it is checked.
    let large = [Item::stored(".pad", vec![7; 120 << 20]), Item::stored("a.png", picture(600, 600, ImageFormat::Png))];
    let (status, taken) = send_archive(&system, archive(&large)).await;
    assert_eq!((status, taken["pictures"].as_u64()), (200, Some(1)), "{taken}");
    #[cfg(target_os = "linux")]
    assert!(system.peak_memory() < PEAK, "{} MiB", system.peak_memory() >> 20);
    system.finish().await;
}
