//! Connections: accepted, answered, and let go within a time when the server stops.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::http::{self, Connection, Head};
use crate::site::Site;

/// How long a client may take to send a request, or to take an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long answers that are under way may take when the server stops; Kubernetes kills after 30 s.
const GRACE: Duration = Duration::from_secs(10);
/// How many connections are open at once; more wait.
const CONNECTIONS: usize = 1024;

/// Serves until `stop` is done.
pub(crate) async fn serve(listener: TcpListener, site: Site, stop: impl Future<Output = ()>) {
    let site = Arc::new(site);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let (stopping, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = &mut stop => break,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match stream {
            Ok((stream, _)) => {
                let (site, stopped) = (Arc::clone(&site), stopped.clone());
                connections.spawn(async move {
                    // A client that goes away is no event.
                    let _ = talk(stream, &site, stopped).await;
                    drop(place);
                });
            }
            // Out of file descriptors, most likely: others must close first.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    drop(stopping);
    let _ = timeout(GRACE, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
}

async fn talk(
    mut stream: TcpStream,
    site: &Site,
    mut stopped: watch::Receiver<()>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut received = Vec::new();
    loop {
        let (answer, connection) = match http::parse(&received) {
            Head::Partial => {
                let read = tokio::select! {
                    read = timeout(PATIENCE, stream.read_buf(&mut received)) => read,
                    // Only between requests: one that has begun is answered.
                    _ = stopped.changed(), if received.is_empty() => return Ok(()),
                };
                match read {
                    Ok(Ok(1..)) => continue,
                    Ok(Ok(0)) => return Ok(()),
                    Ok(Err(error)) => return Err(error),
                    Err(_) => return Ok(()),
                }
            }
            Head::Whole(request, length) => {
                received.drain(..length);
                (http::answer(site, &request, now()), request.connection)
            }
            Head::Bad(status) => (http::refuse(status, now()), Connection::Close),
        };
        timeout(PATIENCE, stream.write_all(&answer)).await??;
        if connection == Connection::Close {
            return stream.shutdown().await;
        }
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::sync::oneshot;

    use super::*;
    use crate::site::tests::site;

    /// A server on a port of its own, and what stops it.
    async fn start() -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(serve(listener, site(), async {
            let _ = stopped.await;
        }));
        (address, stop, serving)
    }

    async fn read_until(stream: &mut TcpStream, end: &str) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end.as_bytes()) {
            assert_ne!(
                stream.read_buf(&mut bytes).await.unwrap(),
                0,
                "closed after {bytes:?}"
            );
        }
        String::from_utf8(bytes).unwrap()
    }

    #[tokio::test]
    async fn several_requests_share_a_connection_also_in_pieces_and_at_once() {
        let (address, _stop, _serving) = start().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /book HT").await.unwrap();
        stream.write_all(b"TP/1.1\r\n\r\n").await.unwrap();
        assert!(
            read_until(&mut stream, "book")
                .await
                .starts_with("HTTP/1.1 200 OK\r\n")
        );
        stream
            .write_all(b"GET /book HTTP/1.1\r\n\r\nGET /no HTTP/1.0\r\n\r\n")
            .await
            .unwrap();
        let mut both = String::new();
        stream.read_to_string(&mut both).await.unwrap();
        assert_eq!(both.matches("HTTP/1.1 ").count(), 2, "{both}");
        assert!(both.ends_with("Connection: close\r\n\r\nlost"), "{both}");
    }

    #[tokio::test]
    async fn what_is_no_request_is_refused_and_the_connection_closed() {
        let (address, _stop, _serving) = start().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"hello\r\n\r\nGET / HTTP/1.1\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn stopping_answers_what_has_begun_and_lets_idle_clients_go() {
        let (address, stop, serving) = start().await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET /book HTTP/1.1\r\n\r\n").await.unwrap();
        read_until(&mut idle, "book").await;
        let mut begun = TcpStream::connect(address).await.unwrap();
        begun
            .write_all(b"GET /book HTTP/1.1\r\n\r\nGET /")
            .await
            .unwrap();
        read_until(&mut begun, "book").await;
        stop.send(()).unwrap();
        assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
        begun
            .write_all(b" HTTP/1.1\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        read_until(&mut begun, "home").await;
        serving.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
