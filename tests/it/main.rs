// Below the sockets.
mod store; // the Store's contract
