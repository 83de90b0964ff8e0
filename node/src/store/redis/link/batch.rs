//! What is sent together, and who is told. No I/O, reads no clock.

use std::collections::VecDeque;

use redis::{Arg, Cmd, Pipeline, cmd};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::error::LinkError;
use super::lane::{Answered, NotDone};

pub(super) type Answer = oneshot::Sender<Result<Answered, NotDone>>;

/// What one caller writes in one call.
pub(super) struct Group {
    commands: Vec<Cmd>,
    /// Of the arguments; what the protocol puts around them is not counted.
    bytes: usize,
    /// It is not sent any more after this.
    deadline: Instant,
    /// It is sent to no later Redis than this.
    generation: Option<u64>,
    answer: Answer,
}

impl Group {
    pub(super) fn new(commands: Vec<Cmd>, deadline: Instant, generation: Option<u64>, answer: Answer) -> Group {
        let bytes =
            commands.iter().flat_map(Cmd::args_iter).map(|argument| if let Arg::Simple(bytes) = argument { bytes.len() } else { 0 }).sum();
        Group { commands, bytes, deadline, generation, answer }
    }

    /// Tells the caller that nothing of it was sent.
    pub(super) fn refuse(self) {
        self.refuse_as(LinkError::Unavailable);
    }

    fn refuse_as(self, why: LinkError) {
        let _ = self.answer.send(Err(NotDone::Link(why))); // a caller that has gone needs no answer
    }

    fn is_stale(&self, generation: u64) -> bool {
        self.generation.is_some_and(|known| known != generation)
    }

    /// The same, because it has to go elsewhere.
    pub(super) fn give_back(self) {
        let _ = self.answer.send(Err(NotDone::Back(self.commands)));
    }
}

/// Groups in the order in which they came, so their deadlines are in order too.
#[derive(Default)]
pub(super) struct Batch {
    groups: VecDeque<Group>,
    commands: usize,
    bytes: usize,
    is_ping: bool,
}

impl Batch {
    /// Asks whether the server is there; nobody waits for the reply but the lane.
    pub(super) fn ping() -> Batch {
        Batch { is_ping: true, ..Batch::default() }
    }

    pub(super) fn push(&mut self, group: Group) {
        self.commands += group.commands.len();
        self.bytes += group.bytes;
        self.groups.push_back(group);
    }

    /// Whether nobody waits for it; a caller without a command waits too.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// In commands.
    pub(super) fn len(&self) -> usize {
        self.commands
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the first group is late.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.groups.front().map(|group| group.deadline)
    }

    /// Lets go of the groups that are late.
    pub(super) fn refuse_late(&mut self, now: Instant) {
        while let Some(group) = self.groups.pop_front_if(|group| group.deadline <= now) {
            self.commands -= group.commands.len();
            self.bytes -= group.bytes;
            group.refuse();
        }
    }

    /// Lets go of the groups that were made for another Redis than this.
    pub(super) fn refuse_stale(&mut self, generation: u64) {
        if !self.groups.iter().any(|group| group.is_stale(generation)) {
            return;
        }
        for group in std::mem::take(&mut self.groups) {
            if group.is_stale(generation) {
                self.commands -= group.commands.len();
                self.bytes -= group.bytes;
                group.refuse_as(LinkError::Stale);
            } else {
                self.groups.push_back(group);
            }
        }
    }

    pub(super) fn refuse(self) {
        self.groups.into_iter().for_each(Group::refuse);
    }

    pub(super) fn give_back(self) {
        self.groups.into_iter().for_each(Group::give_back);
    }

    /// All commands, and for each caller how many of the replies are its own. `last` is asked after them, if there are any.
    pub(super) fn into_parts(self, last: Option<Cmd>) -> (Pipeline, Vec<(usize, Answer)>) {
        let mut pipeline = Pipeline::with_capacity(self.commands + 1);
        if self.is_ping {
            pipeline.add_command(cmd("PING"));
        }
        let mut callers = Vec::with_capacity(self.groups.len());
        for group in self.groups {
            callers.push((group.commands.len(), group.answer));
            for command in group.commands {
                pipeline.add_command(command);
            }
        }
        if let Some(last) = last.filter(|_| self.commands > 0) {
            pipeline.add_command(last);
        }
        (pipeline, callers)
    }
}
