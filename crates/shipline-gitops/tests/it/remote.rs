use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shipline_engine::backend::{AskedOnce, GitopsRepo};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::fault::Faults;
use shipline_gitops::{RemoteGitops, RemoteSettings};
use shipline_http::{HttpExchange, HttpMethod, HttpRequest, HttpResponse};
use shipline_model::value::Secret;
use shipline_testkit::contract::gitops::{GitopsWorld, deployment, manifest, suite, target};
use shipline_testkit::git_server::{GitServer, PushFault};

use crate::support::{Bare, commit, file, messages};

const WEB: &str = "staging/web/deployment.yaml";
const API: &str = "staging/api/deployment.yaml";

/// Plain HTTP/1.1, one connection for each request.
struct Plain;

impl HttpExchange for Plain {
    fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, BackendError> {
        self.try_exchange(request).map_err(|cause| {
            let class = if cause.kind() == std::io::ErrorKind::ConnectionRefused {
                ErrorClass::Unavailable
            } else {
                ErrorClass::Retryable
            };
            BackendError::new(class, "reach the server").because(cause)
        })
    }
}

impl Plain {
    fn try_exchange(&self, request: HttpRequest) -> std::io::Result<HttpResponse> {
        let rest = request.url.strip_prefix("http://").unwrap();
        let (host, path) = rest.split_once('/').unwrap();
        let mut stream = TcpStream::connect(host)?;
        let method = match request.method {
            HttpMethod::Get => "GET",
            HttpMethod::Post => "POST",
        };
        let mut head = format!(
            "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n",
            request.body.len()
        );
        for (name, value) in &request.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        stream.write_all(&request.body)?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status = status.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
                None => break,
            }
        }
        Ok(HttpResponse {
            status,
            headers,
            body: Box::new(reader),
        })
    }
}

struct Remote {
    bare: Bare,
    server: GitServer,
    caches: AtomicUsize,
}

impl Remote {
    fn new() -> Self {
        let bare = Bare::new();
        let server = GitServer::start(bare.directory.path()).unwrap();
        Self {
            bare,
            server,
            caches: AtomicUsize::new(0),
        }
    }

    fn with(files: &[(&str, &str)]) -> Self {
        let remote = Self::new();
        commit(&remote.bare.git(), files);
        remote
    }

    fn settings(&self, cache: PathBuf) -> RemoteSettings {
        RemoteSettings {
            url: self.server.url("gitops.git"),
            branch: "main".to_owned(),
            token: None,
            cache: cache.into(),
            exchange: Arc::new(Plain),
            deadline: Duration::from_secs(120),
            max_pack: 1 << 30,
            signer: None,
            faults: Faults::none(),
        }
    }

    fn cache(&self) -> PathBuf {
        let number = self.caches.fetch_add(1, Ordering::SeqCst);
        self.bare.directory.path().join(format!("cache-{number}"))
    }

    /// Another machine: with a cache of its own.
    fn repository(&self) -> RemoteGitops {
        RemoteGitops::new(self.settings(self.cache())).unwrap()
    }

    fn hook(&self, name: &str, script: &str) {
        let path = self.bare.path().join("hooks").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

impl GitopsWorld for Remote {
    fn open(&self) -> Box<dyn GitopsRepo> {
        Box::new(self.repository())
    }

    fn commit(&self, files: &[(&str, &str)]) {
        commit(&self.bare.git(), files);
    }

    fn file(&self, path: &str) -> Option<String> {
        file(&self.bare.git(), path)
    }

    fn messages(&self) -> Vec<String> {
        messages(&self.bare.git())
    }
}

fn two() -> Remote {
    Remote::with(&[
        (WEB, &manifest("web", "old")),
        (API, &manifest("api", "old")),
    ])
}

#[test]
fn keeps_the_contract() {
    suite(&|| Arc::new(Remote::new()));
}

#[test]
fn one_cache_follows_the_branch() {
    let remote = two();
    let repository = RemoteGitops::new(remote.settings(remote.cache())).unwrap();
    for round in 0..5 {
        let tag = format!("new{round}");
        let ours = deployment(&format!("d{round}"), &[("web", &tag)]);
        assert!(repository.deploy(&ours).unwrap().made);
        let theirs = manifest("api", &tag);
        remote.commit(&[(API, &theirs), (&format!("more/{round}"), "x")]);
        let state = repository
            .snapshot()
            .unwrap()
            .read(&[target("web"), target("api")])
            .unwrap();
        for image in state.images.values() {
            assert_eq!(image.as_ref().unwrap().tag.as_deref(), Some(tag.as_str()));
        }
    }
    assert_eq!(remote.messages().len(), 11);
    let known = repository
        .deploy(&deployment("d0", &[("web", "new0")]))
        .unwrap();
    assert!(!known.made);
    assert_eq!(known.changes[0].to, "r.example:5000/team/web:new0");
}

#[test]
fn a_long_history_is_fetched_shallow_and_followed() {
    let remote = two();
    for number in 0..80 {
        remote.commit(&[("n", &number.to_string())]);
    }
    let cache = remote.cache();
    let repository = RemoteGitops::new(remote.settings(cache.clone())).unwrap();
    assert!(
        repository
            .deploy(&deployment("d1", &[("web", "new")]))
            .unwrap()
            .made
    );
    assert!(cache.join("objects.git/shallow").exists());
    remote.commit(&[(WEB, &manifest("web", "old"))]);
    assert!(
        repository
            .deploy(&deployment("d2", &[("web", "new")]))
            .unwrap()
            .made
    );
    assert_eq!(remote.messages().len(), 84);
}

#[test]
fn a_rewritten_branch_is_followed() {
    let remote = two();
    let repository = RemoteGitops::new(remote.settings(remote.cache())).unwrap();
    repository
        .snapshot()
        .unwrap()
        .read(&[target("web")])
        .unwrap();
    let git = remote.bare.git();
    git.find_reference("refs/heads/main")
        .unwrap()
        .delete()
        .unwrap();
    commit(&git, &[(WEB, &manifest("web", "other"))]);
    let deployed = repository
        .deploy(&deployment("d", &[("web", "new")]))
        .unwrap();
    assert_eq!(deployed.changes[0].from, "r.example:5000/team/web:other");
    assert_eq!(remote.messages().len(), 2);
}

#[test]
fn a_competitor_between_fetch_and_push_is_built_upon() {
    let remote = two();
    let path = remote.bare.path();
    remote.server.on_push(move |number| {
        if number <= 3 {
            let git = git2::Repository::open(&path).unwrap();
            commit(&git, &[(API, &manifest("api", &format!("theirs{number}")))]);
        }
        PushFault::None
    });
    let deployed = remote
        .repository()
        .deploy(&deployment("d", &[("web", "new")]))
        .unwrap();
    assert!(deployed.made);
    assert_eq!(remote.server.pushes(), 4);
    assert_eq!(remote.file(WEB), Some(manifest("web", "new")));
    assert_eq!(remote.file(API), Some(manifest("api", "theirs3")));
    assert_eq!(remote.messages().len(), 5);
}

#[test]
fn a_lost_answer_makes_no_second_commit() {
    let remote = two();
    remote.server.on_push(|number| match number {
        1 => PushFault::AnswerLost,
        _ => PushFault::None,
    });
    let deployed = remote
        .repository()
        .deploy(&deployment("d", &[("web", "new")]))
        .unwrap();
    assert!(deployed.made, "it was made now, whoever says so");
    assert_eq!(deployed.changes[0].to, "r.example:5000/team/web:new");
    assert_eq!(remote.server.pushes(), 1);
    assert_eq!(remote.messages().len(), 2);
}

#[test]
fn a_lost_answer_and_a_competitor_make_no_second_commit() {
    let remote = two();
    let path = remote.bare.path();
    let api = manifest("api", "theirs");
    let cache = remote.cache();
    let repository = RemoteGitops::new(remote.settings(cache)).unwrap();
    remote.server.on_push(move |number| match number {
        1 => {
            // Comes in when the answer is lost and the branch has moved on.
            let (path, api) = (path.clone(), api.clone());
            std::thread::spawn(move || {
                let git = git2::Repository::open(&path).unwrap();
                while messages(&git).len() < 2 {
                    std::thread::yield_now();
                }
                commit(&git, &[(API, &api)]);
            });
            PushFault::AnswerLost
        }
        _ => PushFault::None,
    });
    let deployed = repository
        .deploy(&deployment("d", &[("web", "new")]))
        .unwrap();
    assert!(deployed.made);
    assert_eq!(remote.server.pushes(), 1);
}

#[test]
fn a_push_that_did_not_arrive_is_sent_again() {
    for fault in [
        PushFault::Lost,
        PushFault::Status(503),
        PushFault::Status(429),
    ] {
        let remote = two();
        remote
            .server
            .on_push(move |number| if number == 1 { fault } else { PushFault::None });
        let deployed = remote
            .repository()
            .deploy(&deployment("d", &[("web", "new")]))
            .unwrap();
        assert!(deployed.made);
        assert_eq!((remote.server.pushes(), remote.messages().len()), (2, 2));
    }
}

#[test]
fn refusals_are_told_by_the_ref_and_carry_the_servers_words() {
    let hooks = [
        (
            "pre-receive",
            "echo 'GH006: Protected branch update failed' >&2; exit 1",
            "GH006",
        ),
        ("update", "echo 'not today' >&2; exit 1", "not today"),
        ("pre-receive", "exit 1", "pre-receive hook declined"),
    ];
    for (hook, script, words) in hooks {
        let remote = two();
        remote.hook(hook, script);
        let error = remote
            .repository()
            .deploy(&deployment("d", &[("web", "new")]))
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Conflict);
        assert!(error.message.contains(words), "{}", error.message);
        assert_eq!(remote.server.pushes(), 3);
        assert_eq!(remote.messages().len(), 1);
    }
}

#[test]
fn a_refusal_that_passes_is_no_failure() {
    let remote = two();
    let seen = remote.bare.directory.path().join("seen");
    remote.hook(
        "update",
        &format!(
            "test -e {0} && exit 0; touch {0}; echo 'incorrect old value provided' >&2; exit 1",
            seen.display()
        ),
    );
    assert!(
        remote
            .repository()
            .deploy(&deployment("d", &[("web", "new")]))
            .unwrap()
            .made
    );
    assert_eq!(remote.server.pushes(), 2);
}

#[test]
fn tokens_are_sent_and_shown_nowhere() {
    let remote = two();
    remote.server.require("Basic eC1hY2Nlc3MtdG9rZW46czNjcjN0");
    let error = remote.repository().prepare().unwrap_err();
    assert_eq!(error.class, ErrorClass::Denied);
    let with = RemoteSettings {
        token: Some(Secret::new("s3cr3t")),
        ..remote.settings(remote.cache())
    };
    let cache = with.cache.path().to_path_buf();
    let repository = RemoteGitops::new(with).unwrap();
    assert_eq!(repository.prepare().unwrap(), Vec::<String>::new());
    assert!(
        repository
            .deploy(&deployment("d", &[("web", "new")]))
            .unwrap()
            .made
    );
    assert!(!repository.name().contains("s3cr3t"));
    let config = fs::read_to_string(cache.join("objects.git/config")).unwrap();
    assert!(!config.contains("s3cr3t"));
    let wrong = RemoteSettings {
        token: Some(Secret::new("s3cr3t-but-wrong")),
        ..remote.settings(remote.cache())
    };
    let error = RemoteGitops::new(wrong).unwrap().prepare().unwrap_err();
    assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
    let clear = RemoteSettings {
        url: "http://git.example/gitops.git".into(),
        token: Some(Secret::new("s3cr3t")),
        ..remote.settings(remote.cache())
    };
    let error = RemoteGitops::new(clear).err().unwrap();
    assert_eq!(error.class, ErrorClass::Invalid);
}

#[test]
fn what_is_not_there_is_said() {
    let remote = Remote::new();
    let error = remote.repository().prepare().unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound);
    assert!(error.message.contains("branch main"), "{}", error.message);
    let elsewhere = RemoteSettings {
        url: remote.server.url("none.git"),
        ..remote.settings(remote.cache())
    };
    let error = RemoteGitops::new(elsewhere).unwrap().prepare().unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound);
    // Nobody listens: that is said at once, whatever the deadline.
    let gone = RemoteSettings {
        url: "http://127.0.0.1:9/x.git".into(),
        deadline: Duration::from_secs(86_400),
        ..remote.settings(remote.cache())
    };
    let gone = RemoteGitops::new(gone).unwrap();
    let error = gone.prepare().unwrap_err();
    assert_eq!(error.class, ErrorClass::Unavailable);
    let error = gone
        .deploy(&deployment("d", &[("web", "new")]))
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Unavailable);
    assert_eq!(gone.waits_for(), None);
}

#[test]
fn a_damaged_cache_is_made_anew() {
    let remote = two();
    let cache = remote.cache();
    let repository = RemoteGitops::new(remote.settings(cache.clone())).unwrap();
    repository.prepare().unwrap();
    fs::remove_file(cache.join("objects.git/HEAD")).unwrap();
    assert!(
        repository
            .deploy(&deployment("d", &[("web", "new")]))
            .unwrap()
            .made
    );
}

#[test]
fn a_server_that_cuts_answers_short_is_asked_again() {
    /// Cuts the first answers off, each at another length.
    struct Cut(AtomicUsize);
    impl HttpExchange for Cut {
        fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, BackendError> {
            let mut response = Plain.exchange(request)?;
            let round = self.0.fetch_add(1, Ordering::SeqCst);
            let limit = match round {
                0 => 0,
                1 => 30,
                3 => 50,
                5 => 400,
                _ => u64::MAX,
            };
            response.body = Box::new(response.body.take(limit));
            Ok(response)
        }
    }
    let remote = two();
    let settings = RemoteSettings {
        exchange: Arc::new(Cut(AtomicUsize::new(0))),
        ..remote.settings(remote.cache())
    };
    let deployed = RemoteGitops::new(settings)
        .unwrap()
        .deploy(&deployment("d", &[("web", "new")]))
        .unwrap();
    assert!(deployed.made);
    assert_eq!(remote.messages().len(), 2);
}

#[test]
fn ten_thousand_manifests_over_http() {
    let files: Vec<(String, String)> = (0..10_000)
        .map(|n| {
            let component = format!("c{n}");
            (
                format!("staging/{component}/deployment.yaml"),
                manifest(&component, "old"),
            )
        })
        .collect();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(p, t)| (p.as_str(), t.as_str()))
        .collect();
    let remote = Remote::with(&files);
    let repository = RemoteGitops::new(remote.settings(remote.cache())).unwrap();
    for (id, tag) in [("d1", "new1"), ("d2", "new2")] {
        let started = std::time::Instant::now();
        let before = remote.server.requests();
        assert!(
            repository
                .deploy(&deployment(id, &[("c7", tag), ("c9000", tag)]))
                .unwrap()
                .made
        );
        println!(
            "{id}: {:?}, {} requests",
            started.elapsed(),
            remote.server.requests() - before
        );
    }
}

/// Answers with what a closure gives, and remembers what was asked.
struct Scripted<F>(std::sync::Mutex<Vec<String>>, F);

impl<F> HttpExchange for Scripted<F>
where
    F: Fn(&HttpRequest, usize) -> Option<HttpResponse> + Send + Sync,
{
    fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, BackendError> {
        let number = {
            let mut asked = self.0.lock().unwrap();
            asked.push(request.url.clone());
            asked.len()
        };
        match (self.1)(&request, number) {
            Some(response) => Ok(response),
            None => Plain.exchange(request),
        }
    }
}

fn scripted<F>(answer: F) -> Arc<Scripted<F>>
where
    F: Fn(&HttpRequest, usize) -> Option<HttpResponse> + Send + Sync,
{
    Arc::new(Scripted(std::sync::Mutex::default(), answer))
}

fn answer(status: u16, headers: &[(&str, &str)]) -> HttpResponse {
    HttpResponse {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: Box::new(std::io::empty()),
    }
}

#[test]
fn a_redirect_is_followed_on_the_same_host_only() {
    let remote = two();
    let old = remote.server.url("old.git");
    let redirected = |to: String| {
        let exchange = scripted(move |request: &HttpRequest, _| {
            let (_, query) = request.url.split_once("old.git/")?;
            let to = to.replace("QUERY", query);
            Some(answer(301, &[("Location", to.as_str())]))
        });
        let settings = RemoteSettings {
            url: old.clone(),
            exchange: exchange.clone(),
            ..remote.settings(remote.cache())
        };
        let done = RemoteGitops::new(settings)
            .unwrap()
            .deploy(&deployment("d", &[("web", "new")]));
        let asked = exchange.0.lock().unwrap().len();
        (done, asked)
    };
    let new = remote.server.url("gitops.git");
    let (done, _) = redirected(format!("{new}/QUERY"));
    assert!(done.unwrap().made);
    let path = new.splitn(4, '/').nth(3).unwrap();
    let (done, _) = redirected(format!("/{path}/QUERY"));
    assert!(!done.unwrap().made);
    let host = new.split('/').nth(2).unwrap();
    for elsewhere in [
        "http://other.example/gitops.git/QUERY".to_owned(),
        format!("https://{host}/gitops.git/QUERY"),
        "//other.example/gitops.git/QUERY".to_owned(),
        format!("http://user@{host}/gitops.git/QUERY"),
        format!("http://{host}/login"),
        "gitops.git".to_owned(),
        String::new(),
    ] {
        let (done, asked) = redirected(elsewhere.clone());
        let error = done.unwrap_err();
        assert_eq!(error.class, ErrorClass::Invalid, "{elsewhere}");
        assert!(error.message.contains("redirects to"), "{error}");
        assert_eq!(asked, 1, "{elsewhere}");
    }
    let (done, asked) = redirected(format!("{old}/QUERY"));
    assert!(done.unwrap_err().message.contains("too often"));
    assert!(asked < 10);
}

#[test]
fn what_is_pushed_follows_no_redirect() {
    let remote = two();
    let exchange = scripted(|request: &HttpRequest, _| {
        (request.method == HttpMethod::Post && request.url.ends_with("git-receive-pack"))
            .then(|| answer(307, &[("Location", "/elsewhere")]))
    });
    let settings = RemoteSettings {
        exchange: exchange.clone(),
        ..remote.settings(remote.cache())
    };
    let error = RemoteGitops::new(settings)
        .unwrap()
        .deploy(&deployment("d", &[("web", "new")]))
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Invalid);
    let asked = exchange.0.lock().unwrap();
    assert!(
        asked.iter().all(|url| !url.contains("elsewhere")),
        "{asked:?}"
    );
}

#[test]
fn a_wait_that_is_too_long_is_not_begun() {
    let remote = two();
    let exchange = scripted(|_: &HttpRequest, _| Some(answer(503, &[("Retry-After", "86400")])));
    let settings = RemoteSettings {
        exchange: exchange.clone(),
        ..remote.settings(remote.cache())
    };
    let error = RemoteGitops::new(settings)
        .unwrap()
        .deploy(&deployment("d", &[("web", "new")]))
        .unwrap_err();
    assert_eq!(error.retry_after, Some(Duration::from_secs(86_400)));
    assert_eq!(exchange.0.lock().unwrap().len(), 1);
}

#[test]
fn a_server_that_is_gone_for_a_moment_is_waited_for_once_it_was_there() {
    /// Nobody listens to the second and third request.
    struct Restarting(AtomicUsize);
    impl HttpExchange for Restarting {
        fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, BackendError> {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                2 | 3 => Err(BackendError::new(
                    ErrorClass::Unavailable,
                    "reach the server",
                )),
                _ => Plain.exchange(request),
            }
        }
    }
    let remote = two();
    let settings = RemoteSettings {
        exchange: Arc::new(Restarting(AtomicUsize::new(0))),
        ..remote.settings(remote.cache())
    };
    let deployed = RemoteGitops::new(settings)
        .unwrap()
        .deploy(&deployment("d", &[("web", "new")]))
        .unwrap();
    assert!(deployed.made);
}

#[test]
fn answers_without_an_end_have_one() {
    let remote = two();
    let endless = |bytes: &'static [u8]| {
        let cycle = bytes.iter().copied().cycle();
        struct Endless<I>(I);
        impl<I: Iterator<Item = u8>> Read for Endless<I> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                for byte in buffer.iter_mut() {
                    *byte = self.0.next().unwrap();
                }
                Ok(buffer.len())
            }
        }
        Endless(cycle)
    };
    let refs = scripted(move |request: &HttpRequest, _| {
        (request.method == HttpMethod::Get).then(|| HttpResponse {
            body: Box::new(endless(b"0005#")),
            ..answer(
                200,
                &[(
                    "content-type",
                    "application/x-git-upload-pack-advertisement",
                )],
            )
        })
    });
    let settings = RemoteSettings {
        exchange: refs,
        ..remote.settings(remote.cache())
    };
    let error = RemoteGitops::new(settings)
        .unwrap()
        .snapshot()
        .err()
        .unwrap();
    assert_eq!(error.class, ErrorClass::Failed);
    let small = RemoteSettings {
        max_pack: 100,
        ..remote.settings(remote.cache())
    };
    let error = RemoteGitops::new(small).unwrap().snapshot().err().unwrap();
    assert_eq!(error.class, ErrorClass::Failed);
    let cause = error.cause.unwrap().to_string();
    assert!(cause.contains("more than 100 bytes"), "{cause}");
}

/// Counts what is asked of the server.
struct Counting(Plain, AtomicUsize);

impl HttpExchange for Counting {
    fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, BackendError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.exchange(request)
    }
}

#[test]
fn a_run_asks_once() {
    let remote = Remote::with(&[("staging/web/deployment.yaml", &manifest("web", "old"))]);
    let counting = Arc::new(Counting(Plain, AtomicUsize::new(0)));
    let settings = RemoteSettings {
        exchange: Arc::clone(&counting) as Arc<dyn HttpExchange>,
        ..remote.settings(remote.cache())
    };
    let run = AskedOnce::new(Arc::new(RemoteGitops::new(settings).unwrap()));
    let asked = || counting.1.load(Ordering::SeqCst);
    run.prepare().unwrap();
    run.prepare().unwrap();
    for _ in 0..3 {
        run.snapshot().unwrap().read(&[target("web")]).unwrap();
    }
    // The refs, and what is fetched.
    assert_eq!(asked(), 2);
    run.deploy(&deployment("d1", &[("web", "new")])).unwrap();
    // The refs to be written to, and the push.
    assert_eq!(asked(), 4);
    let state = run.snapshot().unwrap().read(&[target("web")]).unwrap();
    let image = state.images.into_values().next().unwrap().unwrap();
    assert_eq!(image.tag.as_deref(), Some("new"));
    assert_eq!(asked(), 5);
}
