"""Tenantry: multi-tenant email on Amazon SES."""
