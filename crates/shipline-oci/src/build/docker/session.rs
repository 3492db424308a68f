//! BuildKit's session: a second connection to the engine over which it asks us for secrets, for the files of the
//! build and for logins, by gRPC with the roles turned round.
//!
//! The library's own session gives either secrets or logs. This one stands beside the library's `/build`, whose response
//! stream carries the logs.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bollard_buildkit_proto::health::health_server::{Health, HealthServer};
use bollard_buildkit_proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
    health_check_response::ServingStatus,
};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::{Secrets, SecretsServer};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard_buildkit_proto::moby::filesync::v1::auth_server::AuthServer;
use bollard_buildkit_proto::moby::filesync::v1::file_sync_server::FileSyncServer;
use shipline_engine::error::{BackendError, ErrorClass};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};

use super::address::Address;
use super::files::BuildFiles;
use super::login::Logins;

/// The longest response head that an engine may send.
const LONGEST_HEAD: usize = 16 * 1024;

/// A session that is being served. Dropped, it ends.
pub(super) struct Session {
    pub(super) id: String,
    server: tokio::task::JoinHandle<()>,
}

impl Session {
    /// Opens the session and serves `secrets`, `files` and `logins` on it. `id` must be unique on the engine.
    pub(super) async fn open(
        address: &Address,
        id: String,
        secrets: HashMap<String, Vec<u8>>,
        files: BuildFiles,
        logins: Logins,
    ) -> Result<Self, BackendError> {
        let connection = upgrade(address, &id).await.map_err(|error| {
            BackendError::new(
                ErrorClass::Unavailable,
                format!("open a build session on {address}"),
            )
            .because(error)
        })?;
        let server = tokio::spawn(async move {
            let incoming = tokio_stream::once(Ok::<_, std::io::Error>(connection));
            // The connection ends with the build: nobody is left to hear an error of its last bytes.
            let _ = tonic::transport::Server::builder()
                .add_service(HealthServer::new(AlwaysHealthy))
                .add_service(SecretsServer::new(HeldSecrets(Arc::new(secrets))))
                .add_service(FileSyncServer::new(files))
                .add_service(AuthServer::new(logins))
                .serve_with_incoming(incoming)
                .await;
        });
        Ok(Self { id, server })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn upgrade(address: &Address, id: &str) -> std::io::Result<Connection> {
    let mut connection = match address {
        Address::Unix(path) => Connection(Box::pin(UnixStream::connect(path).await?)),
        Address::Tcp(host) => Connection(Box::pin(TcpStream::connect(host).await?)),
    };
    // The shared key is what BuildKit compares folders by, with sizes and times, to take over what it has of an earlier session.
    // Our times say nothing, so that every session has a key of its own.
    let request = format!(
        "POST /session HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\
         X-Docker-Expose-Session-Uuid: {id}\r\nX-Docker-Expose-Session-Name: shipline\r\nX-Docker-Expose-Session-Sharedkey: {id}\r\n\
         X-Docker-Expose-Session-Grpc-Method: /moby.buildkit.secrets.v1.Secrets/GetSecret\r\n\
         X-Docker-Expose-Session-Grpc-Method: /moby.filesync.v1.FileSync/DiffCopy\r\n\
         X-Docker-Expose-Session-Grpc-Method: /moby.filesync.v1.Auth/Credentials\r\n\
         X-Docker-Expose-Session-Grpc-Method: /grpc.health.v1.Health/Check\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await?);
        if head.len() > LONGEST_HEAD {
            return Err(std::io::Error::other("the engine's answer has no end"));
        }
    }
    if head.starts_with(b"HTTP/1.1 101") {
        return Ok(connection);
    }
    let status = String::from_utf8_lossy(&head)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned();
    Err(std::io::Error::other(format!(
        "the engine did not take the session: {status}"
    )))
}

/// Both kinds of stream that lead to an engine.
trait Duplex: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

/// The connection, once it is ours.
struct Connection(Pin<Box<dyn Duplex>>);

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.0.as_mut().poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.0.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.0.as_mut().poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.0.as_mut().poll_shutdown(context)
    }
}

impl Connected for Connection {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

/// Build secrets by ID.
struct HeldSecrets(Arc<HashMap<String, Vec<u8>>>);

#[tonic::async_trait]
impl Secrets for HeldSecrets {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        match self.0.get(&id) {
            Some(secret) => Ok(Response::new(GetSecretResponse {
                data: secret.clone(),
            })),
            None => Err(Status::not_found(format!(
                "pipeline.yaml declares no build secret `{id}` (image.secrets)"
            ))),
        }
    }
}

/// The engine asks for our health before it asks for anything else.
struct AlwaysHealthy;

#[tonic::async_trait]
impl Health for AlwaysHealthy {
    type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse {
            status: ServingStatus::Serving.into(),
        }))
    }

    async fn list(
        &self,
        _: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented(
            "only the whole server's health is known",
        ))
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented(
            "health does not change while a session lives",
        ))
    }
}
