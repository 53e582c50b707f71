//! The command line, used by hand and by scripts.

use image::GenericImageView as _;

use crate::{
    output::{json, run, stderr, stdout},
    support::{System, Topology, command},
};

#[tokio::test(flavor = "multi_thread")]
async fn generate_saves_the_pictures_and_prints_their_paths() {
    let system = System::start(Topology::OneProcess, &[]).await;
    let out = tempfile::tempdir().expect("a directory");
    let mut generate = command(system.data_dir());
    generate.args(["generate", "a lighthouse at dawn", "--style", "watercolor", "--size", "400x300", "--count", "2"]);
    generate.arg("-o").arg(out.path()).args(["--url", &system.gateway]);
    let output = run(&mut generate).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let paths: Vec<_> = stdout(&output).lines().map(std::path::PathBuf::from).collect();
    assert_eq!(paths.len(), 2);
    for path in &paths {
        assert!(path.starts_with(out.path()));
        assert_eq!(image::open(path).expect("a picture").dimensions(), (400, 300));
    }
    assert_eq!(std::fs::read_dir(out.path()).expect("a directory").count(), 2, "no other file is left");

    let mut generate = command(system.data_dir());
    generate.args(["generate", "a fox", "--size", "256x256", "--json", "--url", &system.gateway, "-o"]).arg(out.path());
    let job = json(&run(&mut generate).await);
    assert_eq!(job["status"], "completed");
    assert!(std::path::Path::new(job["files"][0].as_str().expect("a path")).exists());
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn generate_needs_no_server() {
    let data = tempfile::tempdir().expect("a directory");
    let out = tempfile::tempdir().expect("a directory");
    let mut generate = command(data.path().join("data"));
    // Nothing listens on this port, as if the local gateway were not running.
    generate.env("MEDIAFORGE_GATEWAY__LISTEN", "127.0.0.1:1");
    generate.args(["generate", "a sailboat at sunset", "--size", "256x256", "-o"]).arg(out.path());
    let output = run(&mut generate).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let path = stdout(&output).trim().to_owned();
    assert_eq!(image::open(path).expect("a picture").dimensions(), (256, 256));
    crate::support::books::check(&data.path().join("data"));
}

#[tokio::test(flavor = "multi_thread")]
async fn generate_explains_each_error_and_sets_the_exit_code() {
    let environment = [("MEDIAFORGE_CREDITS__STARTING_GRANT", "1"), ("MEDIAFORGE_ENGINE__PREVIEW__FILTERED", "1.0")];
    let system = System::start(Topology::OneProcess, &environment).await;
    let gateway = system.gateway.clone();
    let generate = |arguments: &[&str]| {
        let mut generate = command(system.data_dir());
        generate.args(["generate", "--url", &gateway]).args(arguments).current_dir(system.data_dir());
        generate
    };
    let cases: [(&[&str], &str); 5] = [
        (&["a cat", "--style", "oil"], "watercolor"),
        (&["a cat", "--size", "10x10"], "256"),
        (&["a cat", "--size", "big"], "size"),
        (&["a cat", "--count", "2"], "credit"),
        (&["a cat", "--size", "256x256"], "content_filtered"),
    ];
    let mut codes = Vec::new();
    for (arguments, word) in cases {
        let output = run(&mut generate(arguments)).await;
        assert!(stderr(&output).contains(word), "{arguments:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "");
        codes.push(output.status.code().expect("a code"));
    }
    assert_eq!(codes, [2, 2, 2, 3, 1]);

    let mut nowhere = generate(&["a cat"]);
    nowhere.args(["-o", "/proc/nowhere"]);
    let output = run(&mut nowhere).await;
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert_eq!(system.credits("local").await, (1, 0, 0, 1), "a job whose pictures cannot be saved costs nothing");

    let mut unreachable = command(system.data_dir());
    unreachable.args(["generate", "a cat", "--url", "http://127.0.0.1:1"]);
    let output = run(&mut unreachable).await;
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("127.0.0.1:1"), "{}", stderr(&output));
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn help_config_and_completions_are_printed() {
    let data = tempfile::tempdir().expect("a directory");
    for arguments in [&["--help"][..], &["serve", "--help"], &["generate", "--help"], &["config", "--help"]] {
        let output = run(command(data.path()).args(arguments)).await;
        assert!(output.status.success());
        assert!(stdout(&output).contains("Usage:"), "{arguments:?}");
    }
    let output = run(command(data.path()).args(["completions", "bash"])).await;
    assert!(stdout(&output).contains("_mediaforge"));

    let mut config = command(data.path());
    config.env("MEDIAFORGE_WORKER__SLOTS", "3").args(["config", "--json"]);
    let text = json(&run(&mut config).await).to_string();
    assert!(text.contains("MEDIAFORGE_WORKER__SLOTS"), "each value shows its origin: {text}");
    let output = run(command(data.path()).args(["config"])).await;
    let text = stdout(&output);
    let origin = text.lines().find(|line| line.starts_with("slots = ")).expect("the slots");
    assert!(origin.contains("# default"), "{origin}");
    assert!(text.parse::<toml::Table>().is_ok(), "the output is valid TOML");

    let output = run(command(data.path()).args(["conjure"])).await;
    assert_eq!(output.status.code(), Some(2));
}
