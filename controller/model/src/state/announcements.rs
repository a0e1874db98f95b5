use crate::{Announcement, Name, Prefix, Service, Violation};

/// What services say of their VIPs' announcement: those that share a VIP say the same, and what has one owner is an address.
#[derive(Default)]
pub(super) struct Announcements<'a> {
    services: Vec<Announced<'a>>,
    /// Each VIP with the place of a service among these.
    vips: Vec<(Prefix, usize)>,
}

/// A service that says something.
struct Announced<'a> {
    /// Of the service's specification, if it is in the document.
    path: Option<&'a str>,
    service: &'a Name,
    announcement: Announcement,
}

impl<'a> Announcements<'a> {
    /// Adds a service, with its path if it is in the document.
    pub(super) fn add(&mut self, path: Option<&'a str>, service: &'a Service) {
        let Some(announcement) = &service.announcement else {
            return;
        };
        let vips = service.vips.iter();
        self.vips
            .extend(vips.map(|vip| (*vip, self.services.len())));
        self.services.push(Announced {
            path,
            service: &service.name,
            announcement: announcement.shared(),
        });
    }

    /// Each service of the document that says something else than one before it, or than one that is stored.
    pub(super) fn violations(mut self) -> Vec<Violation> {
        let mut found = Vec::new();
        self.vips.sort_unstable();
        let shared = self.vips.chunk_by(|(a, _), (b, _)| a == b);
        for sharing in shared.filter(|it| it.len() > 1) {
            let vip = sharing[0].0;
            let mut services: Vec<_> = sharing.iter().map(|(_, at)| &self.services[*at]).collect();
            // Who is to change it is in the document.
            services.sort_by_key(|it| it.path.is_some());
            let [first, rest @ ..] = services.as_slice() else {
                continue;
            };
            for other in rest {
                if let Some(path) = other.path
                    && other.announcement != first.announcement
                {
                    found.push(Violation::new(
                        format!("{path}.announce"),
                        format!(
                            "service `{}` says something else of {vip}: say the same in both (`min_healthy_servers` may differ), or in one alone",
                            first.service
                        ),
                    ));
                }
            }
        }
        found
    }
}
