//! Redis in a container, driven by testcontainers: for machines without `redis-server`, and for the tests that show that those are served.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use testcontainers::core::{Mount, WaitFor};
use testcontainers::runners::SyncRunner;
use testcontainers::{Container, GenericImage, ImageExt};

const IMAGE: (&str, &str) = ("redis", "7-bookworm");

/// Removed, with what runs in it, when this value is dropped.
pub(crate) struct Server(Option<Box<Container<GenericImage>>>);

/// Why no such container can be started here, and what to do; `None` when one can. No image is pulled: that is for a person to decide.
pub(crate) fn lacking() -> Option<&'static str> {
    static LACKING: OnceLock<Option<String>> = OnceLock::new();
    let look = || {
        let (name, tag) = IMAGE;
        if !docker(&["version"]) {
            return Some("no Docker engine answers".to_owned());
        }
        let image = format!("{name}:{tag}");
        let absent = || format!("there is no image {image} (docker pull {image}, or tests/deploy/base-images {image})");
        (!docker(&["image", "inspect", &image])).then(absent)
    };
    LACKING.get_or_init(look).as_deref()
}

/// Comes back when its log says `ready`; `None`, and a word about it, when it ended instead. It is in the network of the machine and has
/// this folder: to all others it is as a process would be.
pub(crate) fn launch(arguments: &[String], folder: &Path, ready: &str) -> Option<Server> {
    let owner = std::fs::metadata(folder).expect("its folder");
    let place = folder.to_str().expect("a path of text");
    let request = GenericImage::new(IMAGE.0, IMAGE.1)
        .with_entrypoint("redis-server")
        .with_wait_for(WaitFor::message_on_stdout(ready))
        .with_cmd(arguments)
        .with_network("host")
        .with_user(format!("{}:{}", owner.uid(), owner.gid()))
        .with_mount(Mount::bind_mount(place, place));
    match apart(|| request.start()) {
        Ok(container) => Some(Server(Some(Box::new(container)))),
        Err(error) => {
            println!("the container of Redis does not start: {error}");
            None
        }
    }
}

impl Server {
    /// A signal, by its name: `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        assert!(docker(&["kill", "--signal", name, self.id()]), "docker kill --signal {name}");
    }

    /// What a shell does to end it.
    pub(crate) fn end(&self) -> String {
        format!("docker rm --force --volumes {}", self.id())
    }

    fn id(&self) -> &str {
        self.0.as_ref().expect("it runs until it is dropped").id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let container = self.0.take();
        apart(|| drop(container));
    }
}

/// Its library waits on a runtime of its own, which it may not do within that of a test.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join()).expect("testcontainers works")
}

fn docker(arguments: &[&str]) -> bool {
    let mut command = Command::new("docker");
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
