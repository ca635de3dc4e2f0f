-- A token of an operator may end by itself.
ALTER TABLE operators ADD COLUMN expires_at BIGINT;

-- JSON: why no holder of the agent's identity is served, and who they are.
ALTER TABLE agents ADD COLUMN contest TEXT;
-- JSON: the start of a session that was last audited.
ALTER TABLE agents ADD COLUMN session TEXT;

-- When it was first shown, and since when it is refused: because a renewed one
-- was used (0), or an operator trusts another one (1).
ALTER TABLE agent_certificates ADD COLUMN first_used_at BIGINT;
ALTER TABLE agent_certificates ADD COLUMN ended_at BIGINT;
ALTER TABLE agent_certificates ADD COLUMN ended_by_operator BIGINT;
