"""live_agent: organizations with members, who run live sessions with an interactive agent."""
