//! Malicious and broken clients: each is refused, other clients are not affected, and memory stays bounded.

use std::{net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::support::{System, TIMEOUT, Topology};

/// The allowed peak memory of the process in bytes.
#[cfg(target_os = "linux")]
const PEAK: u64 = 200 << 20;

const SHORT: [(&str, &str); 3] = [
    ("MEDIAFORGE_SERVER__HEADER_TIMEOUT", "300ms"),
    ("MEDIAFORGE_SERVER__IDLE_TIMEOUT", "1h"),
    ("MEDIAFORGE_SERVER__BODY_TIMEOUT", "300ms"),
];

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().expect("an address")
}

async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(address(url)).await.expect("a connection")
}

/// Reads until the server closes the connection, which it must do.
async fn until_closed(connection: &mut TcpStream) -> String {
    let mut received = Vec::new();
    // A reset also counts as closed, because the server does not read what it has refused.
    let _ = timeout(TIMEOUT, connection.read_to_end(&mut received)).await.expect("the server closes the connection");
    String::from_utf8_lossy(&received).into_owned()
}

/// Sends these bytes and returns the response of the server, which must close the connection.
async fn response_to(url: &str, bytes: &[u8]) -> String {
    let mut connection = connect(url).await;
    let _ = connection.write_all(bytes).await; // the server may refuse before the end
    until_closed(&mut connection).await
}

fn status(answer: &str) -> u16 {
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    status.unwrap_or_else(|| panic!("no response: {answer:?}"))
}

fn post(path: &str, headers: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n{headers}\r\n")
}

/// Both servers, each with a path that accepts a body.
fn servers(system: &System) -> [(String, &'static str); 2] {
    [(system.gateway.clone(), "/generate"), (system.worker.clone(), "/process-generation")]
}

#[cfg(target_os = "linux")]
async fn finish(system: System) {
    let peak = system.peak_memory();
    system.finish().await;
    assert!(peak < PEAK, "{} MiB", peak >> 20);
}

#[cfg(not(target_os = "linux"))]
async fn finish(system: System) {
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_disconnected() {
    let system = System::start(Topology::TwoProcesses, &SHORT).await;
    for (url, path) in servers(&system) {
        // Heads that never end: nothing, a part, and one line at a time.
        assert_eq!(response_to(&url, b"").await, "");
        assert_eq!(response_to(&url, b"POST /generate HTTP/1.1\r\nHost: te").await, "");
        let mut drips = connect(&url).await;
        let drip = async {
            drips.write_all(b"GET /health HTTP/1.1\r\n").await.expect("sent");
            while drips.write_all(b"X-A: b\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(TIMEOUT, drip).await.expect("the server closes the connection");
        // Bodies that never end.
        for headers in ["Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n"] {
            let answer = response_to(&url, format!("{}{{", post(path, headers)).as_bytes()).await;
            assert!(matches!(status(&answer), 408 | 400), "{path}: {answer}");
        }
        let answer = response_to(&url, format!("{}{{", post(path, "Content-Length: 100\r\n")).as_bytes()).await;
        assert_eq!(status(&answer), 408, "{path}: {answer}");
    }
    finish(system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_clients_are_disconnected() {
    let idle = [("MEDIAFORGE_SERVER__HEADER_TIMEOUT", "300ms"), ("MEDIAFORGE_SERVER__IDLE_TIMEOUT", "600ms")];
    let system = System::start(Topology::TwoProcesses, &idle).await;
    for (url, _) in servers(&system) {
        // The connection is kept alive for a limited time, with no or half a request.
        for rest in ["", "GET /health HT"] {
            let answer =
                response_to(&url, format!("GET /health HTTP/1.1\r\nHost: test\r\n\r\n{rest}").as_bytes()).await;
            assert_eq!(status(&answer), 200, "{answer}");
        }
    }
    finish(system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_connections_does_not_lock_out_others() {
    let few = [
        ("MEDIAFORGE_SERVER__CONNECTIONS", "64"),
        ("MEDIAFORGE_SERVER__HEADER_TIMEOUT", "5m"),
        ("MEDIAFORGE_SERVER__IDLE_TIMEOUT", "1h"),
    ];
    let system = System::start(Topology::OneProcess, &few).await;
    // An open stream, which must not be closed to make room for others.
    let mut stream = connect(&system.gateway).await;
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: test\r\n\r\n").await.expect("sent");
    let mut hello = [0; 1024];
    assert!(stream.read(&mut hello).await.expect("an answer") > 0);

    let mut flood = Vec::new();
    for n in 0..500 {
        let mut connection = connect(&system.gateway).await;
        match n % 3 {
            0 => {}
            1 => connection.write_all(b"GET / HT").await.expect("sent"),
            _ => connection.write_all(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n").await.expect("sent"),
        }
        flood.push(connection);
        if n % 50 == 0 {
            // Other clients can still connect.
            let health = crate::support::client().get(system.url("/health")).send().await.expect("an answer");
            assert_eq!(health.status(), 200);
        }
    }
    let id = system.submit("ada", "a cat").await;
    assert_eq!(system.finished("ada", &id).await["status"], "completed");
    // The stream is still open.
    system.submit("local", "a dog").await;
    let length = timeout(TIMEOUT, stream.read(&mut hello)).await.expect("an event").expect("an open stream");
    assert!(length > 0);
    drop(flood);
    let id = system.submit("local", "a bird").await;
    system.finished("local", &id).await;
    finish(system).await;
}

/// Streams are never closed to make room, so their number must be limited.
#[tokio::test(flavor = "multi_thread")]
async fn streams_never_take_every_connection() {
    let system = System::start(Topology::OneProcess, &[("MEDIAFORGE_SERVER__CONNECTIONS", "16")]).await;
    let mut streams = Vec::new();
    for n in 0..16 {
        let mut stream = connect(&system.gateway).await;
        let head = format!("GET /events?userId=user-{n} HTTP/1.1\r\nHost: test\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut received = [0; 1024];
        let length =
            timeout(TIMEOUT, stream.read(&mut received)).await.expect("an answer").expect("an open connection");
        let expected = if n < 14 { 200 } else { 429 };
        assert_eq!(status(&String::from_utf8_lossy(&received[..length])), expected, "stream {n}");
        streams.push(stream);
    }
    let health = crate::support::client().get(system.url("/health")).send().await.expect("an answer");
    assert_eq!(health.status(), 200);
    drop(streams);
    finish(system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_idle_connections_do_not_affect_others() {
    let system = System::start(
        Topology::OneProcess,
        &[("MEDIAFORGE_SERVER__HEADER_TIMEOUT", "5m"), ("MEDIAFORGE_SERVER__IDLE_TIMEOUT", "1h")],
    )
    .await;
    // As many as this process may open, minus what the test itself needs.
    let many = open_files().saturating_sub(500).min(10_000);
    let mut idle = Vec::new();
    for n in 0..many {
        let mut connection = connect(&system.gateway).await;
        if n % 2 == 0 {
            connection.write_all(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n").await.expect("sent");
        }
        idle.push(connection);
    }
    let id = system.submit("ada", "a cat").await;
    assert_eq!(system.finished("ada", &id).await["status"], "completed");
    finish(system).await;
}

/// With few files, `accept` fails during the flood.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_out_of_files_recovers() {
    let data = tempfile::tempdir().expect("a directory");
    let ready = data.path().join("ready.json");
    let log = data.path().join("log");
    let server = crate::support::command(data.path().join("data")).into_std();
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -n 96; exec \"$0\" serve --ready-file \"$1\"", crate::support::BINARY]).arg(&ready);
    limited.env_clear().envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.stderr(std::fs::File::create(&log).expect("a log"));
    let mut child = tokio::process::Command::from(limited).kill_on_drop(true).spawn().expect("the binary starts");
    let addresses = timeout(TIMEOUT, async {
        loop {
            if let Ok(text) = std::fs::read(&ready) {
                break serde_json::from_slice::<Value>(&text).expect("written as a whole");
            }
            assert!(child.try_wait().expect("a child").is_none(), "{}", std::fs::read_to_string(&log).expect("a log"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let addresses = addresses.await.expect("ready in time");
    let urls = ["gateway", "worker"].map(|role| crate::support::text(&addresses, role));
    let mut flood = Vec::new();
    for url in urls.iter().cycle().take(300) {
        flood.push(connect(url).await);
    }
    for url in &urls {
        let health = crate::support::client().get(format!("{url}/health")).send().await.expect("an answer");
        assert_eq!(health.status(), 200);
    }
    let log = std::fs::read_to_string(&log).expect("a log");
    assert!(log.contains("cannot accept connections"), "{log}");
    assert!(log.lines().count() < 20, "{log}");
}

fn open_files() -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    usize::try_from(if raised { hard } else { soft }).unwrap_or(usize::MAX)
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_beyond_the_limit_are_refused() {
    let system = System::start(Topology::TwoProcesses, &[]).await;
    for (url, path) in servers(&system) {
        // A declared length of a gigabyte is refused before the body arrives.
        let answer = response_to(&url, post(path, "Content-Length: 1000000000\r\n").as_bytes()).await;
        assert_eq!(status(&answer), 413, "{answer}");
        // An endless chunked body: the server stops reading it.
        let mut connection = connect(&url).await;
        connection.write_all(post(path, "Transfer-Encoding: chunked\r\n").as_bytes()).await.expect("sent");
        let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
        let mut sent: u64 = 0;
        let (mut from, mut to) = connection.split();
        let flood = async {
            while to.write_all(&chunk).await.is_ok() {
                sent += 1 << 20;
            }
        };
        let mut received = Vec::new();
        let listen = async {
            let _ = from.read_to_end(&mut received).await;
        };
        timeout(TIMEOUT, futures::future::join(flood, listen)).await.expect("the server closes the connection");
        assert!(sent < 64 << 20, "the server read {} MiB", sent >> 20);
        let received = String::from_utf8_lossy(&received).into_owned();
        // The reset for the unread rest may arrive before the response.
        assert!(received.is_empty() || status(&received) == 413, "{received}");
    }
    let headers = ["X-A: b\r\n".repeat(1000), format!("X-A: {}\r\n", "b".repeat(1 << 20))];
    for ((url, path), headers) in
        servers(&system).iter().flat_map(|server| headers.iter().map(move |headers| (server, headers)))
    {
        let answer = response_to(url, post(path, headers).as_bytes()).await;
        assert!(answer.is_empty() || status(&answer) == 431, "{path}: {answer}");
    }
    let answer = response_to(&system.gateway, post("/generate", &"X-A: b\r\n".repeat(200)).as_bytes()).await;
    assert_eq!(status(&answer), 431);
    finish(system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_paths_cannot_escape() {
    let system = System::start(Topology::OneProcess, &[]).await;
    let long = "a".repeat(300);
    let names =
        ["..%2f..%2fetc%2fpasswd", "%2e%2e", "%00", "ill_%00", "%ff%fe", "%e2%80%ae", "a%0d%0aSet-Cookie:x", &long];
    for name in names {
        for path in [
            format!("/illustrations/{name}"),
            format!("/brands/{name}/events"),
            format!("/media/{name}"),
            format!("/media/illustrations/{name}/x"),
        ] {
            let answer = response_to(
                &system.gateway,
                format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").as_bytes(),
            )
            .await;
            assert!(matches!(status(&answer), 400 | 404), "{path}: {answer}");
            assert!(!answer.contains("root:") && !answer.contains("\r\nSet-Cookie"), "{answer}");
        }
        let answer = response_to(
            &system.gateway,
            format!("GET /illustrations?after={name} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .await;
        assert_eq!(status(&answer), 422, "{name}: {answer}");
        let answer = response_to(
            &system.gateway,
            format!("GET /credits?userId={name} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .await;
        assert_eq!(status(&answer), 422, "{name}: {answer}");
    }
    for path in ["/media/../mediaforge.db", "/media/./../../mediaforge.db", "//etc/passwd", "/docs/../../x"] {
        let answer = response_to(
            &system.gateway,
            format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .await;
        assert_eq!(status(&answer), 404, "{path}: {answer}");
    }
    for key in ["k".repeat(10_000), String::new(), "schlüssel".to_owned()] {
        let body = r#"{"prompt":"a cat"}"#;
        let head = post(
            "/generate",
            &format!("Idempotency-Key: {key}\r\nConnection: close\r\nContent-Length: {}\r\n", body.len()),
        );
        let answer = response_to(&system.gateway, format!("{head}{body}").as_bytes()).await;
        assert_eq!(status(&answer), 400, "{answer}");
    }
    finish(system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn user_input_cannot_forge_log_lines() {
    let system = System::start(Topology::OneProcess, &[("MEDIAFORGE_TELEMETRY__FILTER", "debug")]).await;
    let forged = "a cat\n{\"severity\":\"EMERGENCY\",\"message\":\"forged\"}\r\n\u{2028}\u{1b}]0;x\u{7}";
    let prompt = "a cat\n{\"severity\":\"EMERGENCY\",\"message\":\"forged\"}";
    let id = system.submit("local", prompt).await;
    assert_eq!(system.finished("local", &id).await["prompt"], prompt);
    for body in [
        json!({ "prompt": forged }),
        json!({ "prompt": "a", "styleId": forged }),
        json!({ forged: 1 }),
        json!({ "userId": forged }),
    ] {
        assert!(matches!(system.post("/generate", &body).await.0, 400 | 422));
    }
    let request = system.client.get(system.url("/styles")).header("x-request-id", "a b").header("traceparent", "00-{}");
    assert_eq!(request.send().await.expect("an answer").status(), 200);
    let pushed = system.client.post(format!("{}/process-generation", system.worker)).body(forged).send().await;
    assert_eq!(pushed.expect("an answer").status(), 200);
    let logs = system.logs();
    finish(system).await;
    for line in logs.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["severity"] != "EMERGENCY" && line["message"] != "forged", "{line}");
    }
}
