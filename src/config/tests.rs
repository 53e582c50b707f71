//! Precedence, error reports, and rules between keys.

#[cfg(feature = "google-cloud")]
mod cloud;
mod engines;

use std::{path::Path, time::Duration};

use super::*;

fn environment<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Environment {
    Environment::of(variables).with_user_data_dir("/home/ada/.local/share/mediaforge")
}

fn sources<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Sources {
    Sources { environment: environment(variables), ..Sources::default() }
}

fn file(dir: &Path, text: &str) -> std::path::PathBuf {
    let path = dir.join("mediaforge.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn error(sources: &Sources) -> String {
    load(sources).unwrap_err().to_string()
}

fn origin(loaded: &Loaded, key: &str) -> String {
    loaded.entries().into_iter().find(|entry| entry.key == key).unwrap().origin.to_string()
}

const GCP: [(&str, &str); 7] = [
    ("K_SERVICE", "mediaforge"),
    ("GOOGLE_CLOUD_PROJECT", "my-project"),
    ("MEDIAFORGE_MEDIA__GCS__BUCKET", "my-media"),
    ("MEDIAFORGE_GATEWAY__STREAM_TOKENS__KEY__ENV", "STREAM_TOKEN_KEY"),
    ("STREAM_TOKEN_KEY", "0123456789abcdef0123456789abcdef"),
    ("MEDIAFORGE_WORKER__OIDC__AUDIENCE", "https://worker.example"),
    ("MEDIAFORGE_WORKER__OIDC__SERVICE_ACCOUNTS", "push@my-project.iam.gserviceaccount.com"),
];

#[test]
fn every_profile_is_valid_in_every_role() {
    for profile in Profile::ALL {
        for roles in [None, Some(Roles::ALL), Some(Roles::GATEWAY), Some(Roles::WORKER)] {
            // The values that only a deployment can provide.
            let required: &[_] = if profile == Profile::Gcp { &GCP } else { &[] };
            let sources = Sources { profile: Some(profile.to_string()), roles, ..sources(required.iter().copied()) };
            if profile == Profile::Gcp && roles.is_some() && !cfg!(feature = "google-cloud") {
                assert!(error(&sources).contains(GOOGLE_CLOUD_NOT_INCLUDED));
                continue;
            }
            load(&sources).unwrap_or_else(|error| panic!("{profile}: {error}"));
        }
    }
}

#[test]
fn local_is_the_default_profile() {
    let loaded = load(&sources([])).unwrap();
    assert_eq!(loaded.profile, Profile::Local);
    assert_eq!(loaded.config.credits.starting_grant, 1000);
    assert_eq!(origin(&loaded, "credits.starting_grant"), "profile local");
    assert_eq!(origin(&loaded, "worker.lease"), "default");
    assert_eq!(loaded.config.worker.heartbeat(), Duration::from_secs(10));
    let first = loaded.config.catalogue().unwrap().default_style().id.clone();
    assert_eq!(first, "watercolor");
}

#[test]
fn each_source_overrides_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path(), "[credits]\nstarting_grant = 7\nimage = 3\n[worker]\nslots = 3\n");
    let flags = vec![Flag { name: "--gateway-listen", key: "gateway.listen", value: "127.0.0.1:9000".into() }];
    let all = Sources {
        file: Some(file.clone()),
        flags,
        ..sources([("MEDIAFORGE_WORKER__SLOTS", "4"), ("MEDIAFORGE_GATEWAY__LISTEN", "127.0.0.1:7000")])
    };
    let loaded = load(&all).unwrap();
    // The file overrides the selected profile, which figment alone would not allow.
    assert_eq!(loaded.config.credits.starting_grant, 7);
    assert_eq!(origin(&loaded, "credits.starting_grant"), format!("file {}", file.display()));
    assert_eq!(loaded.config.worker.slots, 4);
    assert_eq!(origin(&loaded, "worker.slots"), "MEDIAFORGE_WORKER__SLOTS");
    assert_eq!(loaded.config.gateway.listen.port(), 9000);
    assert_eq!(origin(&loaded, "gateway.listen"), "--gateway-listen");
}

#[test]
fn the_environment_overrides_the_selected_profile() {
    let loaded = load(&sources([("MEDIAFORGE_PROFILE", "test"), ("MEDIAFORGE_JOBS__BACKOFF", "20ms")])).unwrap();
    assert_eq!(loaded.profile, Profile::Test);
    assert_eq!(loaded.config.jobs.backoff, Duration::from_millis(20));
}

#[test]
fn variables_of_flags_and_of_kubernetes_are_not_keys_and_empty_variables_count_as_not_set() {
    let variables = [
        ("MEDIAFORGE_URL", "http://127.0.0.1:1"),
        ("MEDIAFORGE_USER", "ada"),
        ("MEDIAFORGE_TOKEN", "a.b.c"),
        ("MEDIAFORGE_TOKEN_FILE", "/nowhere"),
        ("MEDIAFORGE_CONFIG", ""),
        ("MEDIAFORGE_WORKER__SLOTS", ""),
        ("MEDIAFORGE_SERVICE_HOST", "10.0.0.1"),
        ("MEDIAFORGE_PORT", "tcp://10.0.0.1:80"),
        ("MEDIAFORGE_GATEWAY_PORT_80_TCP_ADDR", "10.0.0.1"),
    ];
    assert_eq!(load(&sources(variables)).unwrap().config.worker.slots, 2);
}

#[test]
fn an_unknown_profile_lists_the_valid_ones() {
    let error = error(&Sources { profile: Some("gpc".into()), ..sources([]) });
    assert_eq!(error, "invalid configuration: unknown profile \"gpc\"; valid profiles: local, gcp, test");
}

#[test]
fn an_unknown_variable_is_reported_with_the_valid_keys() {
    let error = error(&sources([("MEDIAFORGE_WORKER__LEESE", "30s")]));
    assert!(error.contains("from MEDIAFORGE_WORKER__LEESE"), "{error}");
    assert!(error.contains("did you mean MEDIAFORGE_WORKER__LEASE?"), "{error}");
    assert!(
        error.contains("valid in [worker]: ack, drain, heartbeat, lease, listen, oidc, push_auth, slot_wait, slots"),
        "{error}"
    );
}

#[test]
fn a_single_underscore_gets_a_suggestion() {
    let error = error(&sources([("MEDIAFORGE_WORKER_SLOTS", "3")]));
    assert!(error.contains("did you mean MEDIAFORGE_WORKER__SLOTS?"), "{error}");
}

#[test]
fn unknown_keys_of_a_file_are_all_reported() {
    let dir = tempfile::tempdir().unwrap();
    let text = "colour = 1\n[worker]\nslotz = 3\n[default.worker]\nslots = 1\n[styles.mine]\nnme = \"x\"\n";
    let error = error(&Sources { file: Some(file(dir.path(), text)), ..sources([]) });
    for part in
        ["4 problems", "colour (from file", "did you mean worker.slots?", "default.worker.slots", "styles.mine.nme"]
    {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn every_problem_is_reported_at_once_with_key_variable_and_origin() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[worker]\nlease = \"20s\"\nheartbeat = \"9s\"\n[limits]\nmin_side = 4096\n";
    let error = load(&Sources {
        file: Some(file(dir.path(), text)),
        flags: vec![Flag { name: "--worker-listen", key: "worker.listen", value: "localhost".into() }],
        ..sources([
            ("MEDIAFORGE_WORKER__SLOTS", "0"),
            ("MEDIAFORGE_JOBS__BACKOFF", "soon"),
            ("MEDIAFORGE_QUEUE__BACKEND", "pubsubb"),
            ("MEDIAFORGE_ENGINE__PREVIEW__HANG", "1.5"),
            ("MEDIAFORGE_GATEWAY__CORS_ORIGINS", "https://a.example, https://b.example/path"),
        ])
    })
    .unwrap_err();
    let about = |key: &str| {
        let found = error.problems.iter().find(|problem| problem.key.as_deref() == Some(key));
        found.unwrap_or_else(|| panic!("{key} in {error}")).to_string()
    };
    assert!(about("worker.lease").contains("20s is shorter than three heartbeats (27s)"));
    assert!(about("worker.lease").contains("variable MEDIAFORGE_WORKER__LEASE"));
    assert!(about("limits.min_side").contains("from file"));
    assert_eq!(about("worker.slots"), "worker.slots (from MEDIAFORGE_WORKER__SLOTS): 0 is out of range; 1 to 1024");
    assert!(about("jobs.backoff").contains("\"soon\" is not a duration"));
    assert!(about("queue.backend").contains("embedded"));
    assert!(about("engine.preview.hang").contains("0 to 1"));
    assert!(about("gateway.cors_origins").contains("https://b.example/path"));
    assert!(about("worker.listen").contains("from --worker-listen"));
    assert_eq!(error.problems.len(), 8, "{error}");
}

#[test]
fn the_local_profile_has_no_rate_limits() {
    let config = load(&sources([])).unwrap().config;
    let rates = (config.gateway.user_requests, config.gateway.address_requests);
    assert_eq!((rates, config.limits.jobs_in_flight), ((0, 0), 1000));
}

#[test]
fn one_address_cannot_use_all_requests_of_a_gateway() {
    let file: toml::Table = super::default_file().parse().unwrap();
    let number = |section: &str, key: &str| file["default"][section][key].as_integer().unwrap();
    let text = file["default"]["server"]["body_timeout"].as_str().unwrap();
    let seconds = i64::try_from(super::duration::from_text(text).unwrap().as_secs()).unwrap();
    // A full bucket at once, plus the refill while the first requests are pending.
    let pending = number("gateway", "address_requests") * (60 + seconds) / 60;
    assert!(pending < number("server", "requests"), "{pending}");
}

#[test]
fn limits_of_servers_are_checked() {
    let error = load(&sources([
        ("MEDIAFORGE_SERVER__CONNECTIONS", "1"),
        ("MEDIAFORGE_SERVER__IDLE_TIMEOUT", "5s"),
        ("MEDIAFORGE_SERVER__BODY_TIMEOUT", "0s"),
        ("MEDIAFORGE_GATEWAY__TRUSTED_PROXIES", "17"),
        ("MEDIAFORGE_GATEWAY__USER_REQUESTS", "-1"),
    ]))
    .unwrap_err();
    let keys: Vec<_> = error.problems.iter().filter_map(|problem| problem.key.as_deref()).collect();
    for key in [
        "server.connections",
        "server.idle_timeout",
        "server.body_timeout",
        "gateway.trusted_proxies",
        "gateway.user_requests",
    ] {
        assert!(keys.contains(&key), "{key} in {error}");
    }
}

#[test]
fn a_new_style_needs_all_of_its_keys() {
    let dir = tempfile::tempdir().unwrap();
    let whole = "[styles.ink]\norder = 1\nname = \"Ink\"\ndescription = \"Black.\"\nmodifier = \"black ink\"\n";
    let loaded = load(&Sources { file: Some(file(dir.path(), whole)), ..sources([]) }).unwrap();
    assert_eq!(loaded.config.catalogue().unwrap().default_style().id, "ink");
    assert_eq!(loaded.config.styles.len(), 6);
    let error = error(&Sources { file: Some(file(dir.path(), "[styles.ink]\norder = 1\n")), ..sources([]) });
    assert!(error.contains("styles.ink") && error.contains("missing: name, description, modifier"), "{error}");
}

#[test]
fn a_variable_can_set_a_style_with_a_dash_and_text_stays_text() {
    let loaded = load(&sources([("MEDIAFORGE_STYLES__FLAT_2D__NAME", "007")])).unwrap();
    assert_eq!(loaded.config.styles["flat-2d"].name, "007");
}

#[test]
fn port_applies_to_the_served_role_and_its_own_variable_overrides_it() {
    let listen = |roles, variables: &[(&str, &str)]| {
        let loaded = load(&Sources { roles, ..sources(variables.iter().copied()) }).unwrap();
        (loaded.config.gateway.listen.to_string(), loaded.config.worker.listen.to_string())
    };
    let port = ("PORT", "9999");
    assert_eq!(listen(Some(Roles::ALL), &[port]), ("127.0.0.1:9999".into(), "127.0.0.1:8081".into()));
    assert_eq!(listen(Some(Roles::WORKER), &[port]), ("127.0.0.1:8080".into(), "127.0.0.1:9999".into()));
    assert_eq!(listen(None, &[port]).0, "127.0.0.1:8080");
    let variable = ("MEDIAFORGE_GATEWAY__LISTEN", "127.0.0.1:7000");
    assert_eq!(listen(Some(Roles::GATEWAY), &[port, variable]).0, "127.0.0.1:7000");
    let loaded = load(&Sources { roles: Some(Roles::ALL), ..sources([port]) }).unwrap();
    assert_eq!(origin(&loaded, "gateway.listen"), "PORT");
    let error = error(&Sources { roles: Some(Roles::ALL), ..sources([("PORT", "http")]) });
    assert!(error.contains("gateway.listen (from PORT") && error.contains("\"http\" is not a port"), "{error}");
}

#[test]
fn cloud_run_refuses_unsafe_combinations_for_a_process_that_serves() {
    let cloud = [("K_SERVICE", "mediaforge"), ("PORT", "8080")];
    let refused = |roles| load(&Sources { roles: Some(roles), ..sources(cloud) }).unwrap_err();
    let keys = |error: &ConfigError| error.problems.iter().filter_map(|it| it.key.clone()).collect::<Vec<_>>();
    assert_eq!(keys(&refused(Roles::ALL)), ["gateway.auth"]);
    assert_eq!(keys(&refused(Roles::GATEWAY)), ["gateway.auth", "store.backend", "queue.backend"]);
    assert_eq!(keys(&refused(Roles::WORKER)), ["worker.push_auth", "store.backend", "queue.backend"]);
    // A command such as `generate` serves nothing.
    assert!(load(&sources(cloud)).is_ok());
    let mut worker = sources(cloud);
    worker.roles = Some(Roles::WORKER);
    let text = error(&worker);
    assert!(!text.contains("worker.listen"), "{text}");
}

#[test]
fn one_process_cannot_listen_twice_on_one_address() {
    let variables = [("MEDIAFORGE_WORKER__LISTEN", "127.0.0.1:8080")];
    let text = error(&Sources { roles: Some(Roles::ALL), ..sources(variables) });
    assert!(text.contains("is also gateway.listen"), "{text}");
}

#[test]
fn the_data_directory_must_be_known() {
    let no_home = Sources { environment: Environment::of([]), ..Sources::default() };
    assert!(error(&no_home).contains("--data-dir"));
    let named = Sources { environment: Environment::of([("MEDIAFORGE_DATA_DIR", "/data")]), ..Sources::default() };
    assert_eq!(load(&named).unwrap().config.data_dir, Path::new("/data"));
    assert_eq!(load(&sources([])).unwrap().config.data_dir, Path::new("/home/ada/.local/share/mediaforge"));
    assert!(error(&sources([("MEDIAFORGE_DATA_DIR", "~/data")])).contains("shell"));
    assert!(error(&sources([("MEDIAFORGE_DATA_DIR", "/d\u{fffd}ta")])).contains("is not Unicode"));
}

#[test]
fn the_limits_of_pubsub_apply_except_in_the_test_profile() {
    let deadline = ("MEDIAFORGE_QUEUE__EMBEDDED__ACK_DEADLINE", "5s");
    let wait = ("MEDIAFORGE_WORKER__SLOT_WAIT", "1s");
    assert!(error(&sources([deadline, wait])).contains("5s is out of range; 10s to 10m"));
    assert!(load(&Sources { profile: Some("test".into()), ..sources([deadline, wait]) }).is_ok());
    let text = error(&sources([("MEDIAFORGE_WORKER__SLOT_WAIT", "10m")]));
    assert!(text.contains("must be below queue.embedded.ack_deadline (10m)"), "{text}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let missing = Sources { file: Some("/nowhere/x.toml".into()), ..sources([]) };
    assert!(error(&missing).contains("cannot read the configuration file /nowhere/x.toml"));
    let dir = tempfile::tempdir().unwrap();
    let broken = Sources { file: Some(file(dir.path(), "[worker\nslots=")), ..sources([]) };
    assert!(error(&broken).contains("is not TOML"));
}

#[test]
fn the_documented_defaults_name_every_key() {
    let text = include_str!("../../config/default.toml");
    for entry in load(&sources([])).unwrap().entries() {
        // The file documents a secret's key, not its two subkeys.
        let key = entry.key.trim_end_matches(".env").trim_end_matches(".file");
        let name = key.rsplit('.').next().unwrap();
        assert!(text.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{name} ="))), "{name}");
    }
}

#[test]
fn settings_of_trainers_are_checked() {
    let error = error(&sources([
        ("MEDIAFORGE_TRAINER__POLL_EVERY", "1ms"),
        ("MEDIAFORGE_TRAINER__MOCK__DURATION", "25h"),
        ("MEDIAFORGE_TRAINER__MOCK__FAILED", "-0.1"),
        ("MEDIAFORGE_TRAINER__MOCK__HANG", "2"),
    ]));
    for part in
        ["4 problems", "trainer.poll_every", "50ms to 1m", "trainer.mock.duration", "trainer.mock.failed", "0 to 1"]
    {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn jobs_are_kept_forever_unless_a_retention_is_set() {
    let jobs = |value: Option<&str>| {
        let sources = sources(value.map(|value| ("MEDIAFORGE_JOBS__RETENTION", value)));
        load(&sources).map(|loaded| loaded.config.jobs.retention)
    };
    assert_eq!(jobs(None).unwrap(), None);
    assert_eq!(jobs(Some("90d")).unwrap(), Some(Duration::from_hours(90 * 24)));
    for (value, part) in
        [("90s", "1m 30s is out of range; 1h to"), ("0s", "out of range"), ("1 month", "is not a duration")]
    {
        let error = jobs(Some(value)).unwrap_err().to_string();
        assert!(error.contains(part), "{value}: {error}");
    }
}

#[test]
fn invalid_breaker_settings_are_refused() {
    let error = error(&sources([
        ("MEDIAFORGE_BREAKER__FAILURES", "0"),
        ("MEDIAFORGE_BREAKER__COOLDOWN", "2h"),
        ("MEDIAFORGE_BREAKER__CAP", "90m"),
        ("MEDIAFORGE_JOBS__BACKEND_TIMEOUT", "1ms"),
        ("MEDIAFORGE_ENGINE__PREVIEW__MISCONFIGURED", "2"),
    ]));
    for part in [
        "5 problems",
        "breaker.failures",
        "1 to 1000",
        "breaker.cooldown",
        "breaker.cap",
        "an hour",
        "jobs.backend_timeout",
        "100ms to 5m",
        "engine.preview.misconfigured",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}
