//! Clients that share one thread, from their CONNECT on: more threads would take the processors from the broker.

use std::io;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Runtime};

pub(crate) struct Crew<C> {
    runtime: Runtime,
    clients: Vec<C>,
}

impl<C: Send + 'static> Crew<C> {
    /// They come one after the other, each with its number.
    pub(crate) fn gather(count: usize, come: impl AsyncFn(usize) -> io::Result<C>) -> io::Result<Crew<C>> {
        let runtime = runtime();
        let clients = runtime.block_on(async {
            let mut clients = Vec::with_capacity(count);
            for number in 0..count {
                clients.push(come(number).await?);
            }
            io::Result::Ok(clients)
        })?;
        Ok(Crew { runtime, clients })
    }

    /// Lets all of them do this until all of them have ended.
    pub(crate) fn run<F>(self, work: impl FnMut(C) -> F) -> JoinHandle<Vec<F::Output>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let Crew { runtime, clients } = self;
        let running: Vec<_> = clients.into_iter().map(work).map(|client| runtime.spawn(client)).collect();
        thread::spawn(move || {
            runtime.block_on(async {
                let mut outputs = Vec::with_capacity(running.len());
                for client in running {
                    outputs.push(client.await.expect("no client panics"));
                }
                outputs
            })
        })
    }
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime starts")
}
