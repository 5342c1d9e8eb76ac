"""stable-baselines3 agents: SAC, TQC, PPO."""
