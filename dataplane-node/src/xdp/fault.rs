use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::path::PathBuf;

use nix::sys::utsname::uname;

use super::capabilities;
use crate::{chain::Chain, netlink::LinkView};

/// Why the program does not run. The text is for the operator, complete without a cause: it is reported to the controller
/// and becomes the reason of refusals.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("capability missing: {missing} ({doing}); run the agent as root or grant it")]
    Capability {
        missing: String,
        doing: &'static str,
    },
    #[error(
        "not permitted although the capabilities are there ({doing}: {detail}); look for a security module, lockdown mode, or a \
         user namespace"
    )]
    NotPermitted { doing: &'static str, detail: String },
    #[error("kernel too old: {release} ({doing}: {detail}); Linux 6.1 or newer is needed")]
    KernelTooOld {
        release: String,
        doing: &'static str,
        detail: String,
    },
    #[error("interface gone: there is no interface {interface}")]
    InterfaceGone { interface: String },
    #[error(
        "another XDP program on {interface}: {program}; it is left alone, detach it (`ip link set dev {interface} xdp off`) or use \
         another interface"
    )]
    OtherProgram { interface: String, program: String },
    #[error(
        "the driver of {interface} refuses native XDP: {detail}; use --xdp-mode auto or generic"
    )]
    NativeRefused { interface: String, detail: String },
    #[error("pin directory {path}: {detail}")]
    PinDir { path: PathBuf, detail: String },
    #[error("{doing}: {detail}")]
    Other { doing: &'static str, detail: String },
}

impl Fault {
    /// Sorts an error of the kernel or of the loader by what an operator can do about it.
    pub(crate) fn of(doing: &'static str, error: &(dyn Error + 'static)) -> Self {
        let detail = shortened(&Chain(error).to_string());
        match errno(error) {
            Some(libc::EPERM | libc::EACCES) => match capabilities::missing() {
                Some(missing) if missing.is_empty() => Self::NotPermitted { doing, detail },
                missing => Self::Capability {
                    missing: missing.map_or_else(|| "CAP_BPF".to_owned(), |m| m.join(", ")),
                    doing,
                },
            },
            Some(libc::ENOSYS | libc::EINVAL | libc::E2BIG | libc::EOPNOTSUPP) => {
                Self::too_old(doing, detail)
            }
            _ => Self::Other { doing, detail },
        }
    }

    /// Whether these links, just read, do not show it any more.
    pub(crate) fn may_be_over(&self, links: &BTreeMap<String, LinkView>) -> bool {
        match self {
            Self::InterfaceGone { interface } => links.contains_key(interface),
            Self::OtherProgram { interface, .. } => {
                links.get(interface).is_some_and(|link| link.xdp.is_none())
            }
            Self::Capability { .. }
            | Self::NotPermitted { .. }
            | Self::KernelTooOld { .. }
            | Self::NativeRefused { .. }
            | Self::PinDir { .. }
            | Self::Other { .. } => true,
        }
    }

    /// The kernel lacks something.
    pub(crate) fn too_old(doing: &'static str, detail: String) -> Self {
        Self::KernelTooOld {
            release: kernel_release(),
            doing,
            detail,
        }
    }
}

/// The verifier's log may be long; its beginning and end tell the reason.
fn shortened(text: &str) -> String {
    const PART: usize = 400;
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= 2 * PART {
        return text.to_owned();
    }
    let head: String = chars[..PART].iter().collect();
    let tail: String = chars[chars.len() - PART..].iter().collect();
    format!("{head} [...] {tail}")
}

/// The operating system's error number somewhere in a chain of causes.
pub(crate) fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(code) = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error)
        {
            return Some(code);
        }
        cause = error.source();
    }
    None
}

fn kernel_release() -> String {
    uname().map_or_else(
        |_| "unknown release".to_owned(),
        |uname| format!("Linux {}", uname.release().to_string_lossy()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::XdpView;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    fn fault(code: i32) -> Fault {
        Fault::of("load", &Outer(io::Error::from_raw_os_error(code)))
    }

    #[test]
    fn causes_are_told_apart() {
        assert!(
            matches!(fault(libc::ENOSYS), Fault::KernelTooOld { release, .. } if release.starts_with("Linux "))
        );
        assert!(matches!(fault(libc::EINVAL), Fault::KernelTooOld { .. }));
        assert!(matches!(
            fault(libc::EPERM),
            Fault::Capability { .. } | Fault::NotPermitted { .. }
        ));
        assert!(
            matches!(fault(libc::ENOMEM), Fault::Other { detail, .. } if detail.contains("outer: "))
        );
    }

    #[test]
    fn what_links_show_decides_whether_trying_again_is_worth_it() {
        let link = |xdp| LinkView {
            index: 3,
            mac: None,
            up: true,
            mtu: None,
            xdp,
        };
        let program = XdpView {
            programs: [7].into(),
            generic: false,
        };
        let interface = || "eth0".to_owned();
        let none = BTreeMap::new();
        let free = BTreeMap::from([(interface(), link(None))]);
        let taken = BTreeMap::from([(interface(), link(Some(program)))]);
        let gone = Fault::InterfaceGone {
            interface: interface(),
        };
        assert!(!gone.may_be_over(&none) && gone.may_be_over(&free) && gone.may_be_over(&taken));
        let other = Fault::OtherProgram {
            interface: interface(),
            program: "x".to_owned(),
        };
        assert!(!other.may_be_over(&none) && other.may_be_over(&free));
        assert!(!other.may_be_over(&taken));
        assert!(fault(libc::ENOMEM).may_be_over(&none));
    }

    #[test]
    fn long_details_keep_both_ends() {
        let text = format!("begin{}end", "x".repeat(5000));
        let short = shortened(&text);
        assert!(short.len() < 1000 && short.starts_with("begin") && short.ends_with("end"));
    }
}
