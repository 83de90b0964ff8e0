use super::Failure;
pub(super) const EXAMPLES: &str = "";
#[derive(clap::Args, Debug)]
pub(super) struct PublishArguments {}
pub(super) fn run(_: &PublishArguments) -> Result<(), Failure> {
    Ok(())
}
