//! The fake ECR as a program: `fake-ecr [--port N] [--account ID] [--region NAME] [--proxy-host HOST] [--tls CA-FILE [--name HOST]…]
//! [--repository NAME]…`. It prints its URL when it listens, and serves until it is ended.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::PathBuf;
use std::process::ExitCode;

use shipline_testkit::ecr::{FakeEcr, Mutability, Options, TestCertificate};

struct Arguments {
    options: Options,
    ca: Option<PathBuf>,
    names: Vec<String>,
    repositories: Vec<String>,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments {
        options: Options::default(),
        ca: None,
        names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
        repositories: Vec::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words
            .next()
            .ok_or_else(|| format!("`{word}` wants a value"))?;
        match word.as_str() {
            "--port" => {
                arguments.options.port = value
                    .parse()
                    .map_err(|_| format!("`{value}` is not a port"))?;
            }
            "--account" => arguments.options.account = value,
            "--region" => arguments.options.region = value,
            "--proxy-host" => arguments.options.proxy_host = Some(value),
            "--tls" => arguments.ca = Some(value.into()),
            "--name" => arguments.names.push(value),
            "--repository" => arguments.repositories.push(value),
            _ => return Err(format!("`{word}` is not known")),
        }
    }
    Ok(arguments)
}

async fn run(mut arguments: Arguments) -> std::io::Result<()> {
    if let Some(path) = &arguments.ca {
        let names: Vec<&str> = arguments.names.iter().map(String::as_str).collect();
        let certificate = TestCertificate::new(&names)?;
        FakeEcr::write_ca(&certificate, path)?;
        arguments.options.tls = Some(certificate);
    }
    let fake = FakeEcr::start(arguments.options).await?;
    for repository in &arguments.repositories {
        fake.create(repository, Mutability::Immutable);
    }
    println!("{}", fake.url());
    fake.run().await;
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("fake-ecr: {problem}");
            return ExitCode::from(2);
        }
    };
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fake-ecr: {error}");
            ExitCode::FAILURE
        }
    }
}
