use super::Failure;
pub(super) const EXAMPLES: &str = "";
#[derive(clap::Args, Debug)]
pub(super) struct SubscribeArguments {}
pub(super) fn run(_: &SubscribeArguments) -> Result<(), Failure> {
    Ok(())
}
