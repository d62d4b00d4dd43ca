//! What rmcp answers on a connection, observed: every request as an operation.

use rmcp::ErrorData;
use rmcp::model::{ClientNotification, ClientRequest, ServerConfig, ServerResult};
use rmcp::service::{NotificationContext, RequestContext, RoleServer, Service};

use super::mcp::Mcp;
use super::meta::Meta;
use super::operation::Operation;

/// The MCP server, with telemetry around each request.
pub struct Observed(pub Mcp);

impl Service<RoleServer> for Observed {
    async fn handle_request(
        &self,
        request: ClientRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<ServerResult, ErrorData> {
        // Lasts for as long as its client likes; how long says nothing.
        if matches!(request, ClientRequest::SubscriptionsListenRequest(_)) {
            return self.0.handle_request(request, context).await;
        }
        let handshake = context.peer.peer_info().map(|client| client.protocol_version.clone());
        let (meta, handshake) = (Meta::new(&context.meta), handshake.as_ref().map(|version| version.as_str()));
        let mut operation = Operation::begin(self.0.pipeline(), request.method(), &context.id, meta, None, handshake);
        let answer = self.0.handle_request(request, context).await;
        operation.answered(answer.as_ref().err().map(|error| error.code.0));
        answer
    }

    async fn handle_notification(
        &self,
        notification: ClientNotification,
        context: NotificationContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.0.handle_notification(notification, context).await
    }

    fn get_info(&self) -> ServerConfig {
        Service::get_info(&self.0)
    }
}
